"""What is said of a cluster that does not let us in."""

from branchwise.orchestration.execution.cluster import refusal


def test_of_a_servers_traceback_only_its_end_is_told() -> None:
    # As Ray 2.60 words it when a busy head does not start its server for clients in time.
    said = """Initialization failure from server:
Traceback (most recent call last):
  File "proxier.py", line 772, in Datapath
    raise RuntimeError(
RuntimeError: Starting Ray client server failed. See ray_client_server_23001.err for detailed logs.
"""
    told = refusal("ray://head:10001", ConnectionAbortedError(said))
    assert told == (
        "--address ray://head:10001: no Ray cluster answers there: "
        "RuntimeError: Starting Ray client server failed. See ray_client_server_23001.err for detailed logs."
    )
