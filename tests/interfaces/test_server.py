"""A program that becomes a server."""

from cluster import Cluster, wait_until


def test_the_group_of_the_environment_is_served(tmp_path):
    script = tmp_path / "server.py"
    script.write_text(
        "import seppo\nif __name__ == '__main__':\n    seppo.start_seppo_enslaved_server()\n"
    )
    with Cluster(0, SEPPO_GROUP="lab") as cluster:
        cluster.spawn(script)
        (entry,) = wait_until(lambda: cluster.entries("lab"), what="the host's registration")
        assert entry.facts["places"] == "1"
