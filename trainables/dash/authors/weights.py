"""The authors' checkpoints: names and architecture in terms of diffusers' UNet2DModel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress

from torch import Tensor

from branchwise.trainables.dash.settings.spec import UNet

NORM_GROUPS = 32  # fixed in the reference, and not visible in the shapes

_COMPLETE = {
    "temb.dense.0": "time_embedding.linear_1",
    "temb.dense.1": "time_embedding.linear_2",
    "class_embed": "class_embedding",
    "conv_in": "conv_in",
    "norm_out": "conv_norm_out",
    "conv_out": "conv_out",
}
_MID = {"block_1": "resnets.0", "attn_1": "attentions.0", "block_2": "resnets.1"}
_RES_BLOCK = {
    "norm1": "norm1",
    "conv1": "conv1",
    "temb_proj": "time_emb_proj",
    "norm2": "norm2",
    "conv2": "conv2",
    "nin_shortcut": "conv_shortcut",
}
_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_KEY = re.compile(
    r"(?:(?P<way>down|up)\.(?P<level>\d+)\.(?:(?P<kind>block|attn)\.(?P<index>\d+)\.(?P<part>\w+)|(?:down|up)sample\.conv)"
    r"|mid\.(?P<mid>block_1|attn_1|block_2)\.(?P<mid_part>\w+)"
    r"|(?P<whole>[a-z_]+(?:\.dense\.[01])?))\.(?P<leaf>weight|bias)"
)


def diffusers_key(key: str, levels: int) -> str:
    """The name diffusers gives the authors' parameter `key` of a net of `levels` resolutions.

    Raises ValueError for a name the reference does not have.
    """
    if match := _KEY.fullmatch(key):
        with suppress(KeyError):  # a part that its block does not have
            return _translated(match, levels)
    raise ValueError(f"{key} is not the name of a parameter of the reference's U-Net")


def _translated(match: re.Match[str], levels: int) -> str:
    leaf = match["leaf"]
    if match["whole"]:
        return f"{_COMPLETE[match['whole']]}.{leaf}"
    if match["mid"]:
        parts = _ATTENTION if match["mid"] == "attn_1" else _RES_BLOCK
        return f"mid_block.{_MID[match['mid']]}.{parts[match['mid_part']]}.{leaf}"
    direction, level = match["way"], int(match["level"])
    block = (
        f"down_blocks.{level}" if direction == "down" else f"up_blocks.{levels - 1 - level}"
    )  # the authors count from the top
    if match["kind"] is None:
        return f"{block}.{direction}samplers.0.conv.{leaf}"
    if match["kind"] == "block":
        return f"{block}.resnets.{match['index']}.{_RES_BLOCK[match['part']]}.{leaf}"
    return f"{block}.attentions.{match['index']}.{_ATTENTION[match['part']]}.{leaf}"


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the authors' state dict under diffusers' names.

    The 1x1 convolutions of attention become linear layers.

    Raises ValueError for names the reference does not have.
    """
    levels = count_levels(state)
    renamed = {}
    for key, value in state.items():
        name = diffusers_key(key, levels)
        renamed[name] = value.flatten(1) if ".attentions." in name and value.ndim == 4 else value
    return renamed


def count_levels(state: Mapping[str, Tensor]) -> int:
    """The number of resolutions, from the key names. Raises ValueError if none exist."""
    levels = {int(key.split(".")[1]) for key in state if re.match(r"down\.\d+\.", key)}
    if levels != set(range(len(levels))) or not levels:
        raise ValueError("these are not the parameters of the reference's U-Net: it has no levels down.0, down.1, ...")
    return len(levels)


def architecture(state: Mapping[str, Tensor], image_size: int) -> UNet:
    """The spec of the net these parameters are of, for square images of `image_size` pixels.

    Raises ValueError when a parameter that determines the architecture is missing.
    """
    levels = count_levels(state)
    try:
        channels = tuple(len(state[f"down.{level}.block.0.conv1.weight"]) for level in range(levels))
    except KeyError as missing:
        raise ValueError(f"the parameter {missing} is missing") from None
    blocks = sum(key.startswith("down.0.block.") and key.endswith(".conv1.weight") for key in state)
    attention = tuple(image_size // 2**level for level in range(levels) if f"down.{level}.attn.0.q.weight" in state)
    return UNet(channels=channels, res_blocks=blocks, attention_at=attention, norm_groups=NORM_GROUPS)
