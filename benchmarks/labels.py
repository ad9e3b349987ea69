"""What the labels of samples do to a distance: `python benchmarks/labels.py [--major 1330 --minor 70]`.

The data are real images of two classes of different sizes (digits 0 and 1, repeated). A perfect generator returns real
images; the distance to all of the data, in `digits64`, then depends only on how many it draws of each class.
"""

from __future__ import annotations

import argparse
import sys

from _common import show


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--major", type=int, default=1330, help="images of the large class")
    parser.add_argument("--minor", type=int, default=70, help="images of the small class")
    parser.add_argument("--samples", type=int, default=640)
    options = parser.parse_args()

    import torch

    from branchwise.trainables.dash.data import datasets
    from branchwise.trainables.dash.diffusion.sampling import balanced_labels, proportional_labels
    from branchwise.trainables.dash.evaluation import features, metrics
    from branchwise.trainables.dash.settings.data import Digits

    images = datasets.load_reference_images(Digits(), "cpu")
    with torch.inference_mode():
        rows = features.digits("cpu").net(images.images)
    rng = torch.Generator().manual_seed(0)

    def drawn(label: int, count: int) -> torch.Tensor:
        of_class = rows[images.labels == label]
        return of_class[torch.randint(len(of_class), (count,), generator=rng)]

    counts = options.major, options.minor
    reference = metrics.statistics(torch.cat([drawn(label, count) for label, count in enumerate(counts)]))
    table = []
    for name, labels in (
        ("data", proportional_labels(counts, options.samples)),
        ("balanced", balanced_labels(range(options.samples), 2, "cpu")),
    ):
        of_each = labels.bincount(minlength=2).tolist()
        samples = torch.cat([drawn(label, count) for label, count in enumerate(of_each)])
        distance = metrics.frechet_distance(metrics.statistics(samples), reference)
        table.append((name, f"{of_each[0]} and {of_each[1]}", f"{distance:.3f}"))
    title = f"Real images against {counts[0]:,} and {counts[1]:,} real images"
    show(title, ("evaluate.labels", "of each class", "fd_digits64"), table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
