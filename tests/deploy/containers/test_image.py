"""What the server's image starts: its command, and its health check on what the command started."""

import json
import re
import subprocess

from system_support import COMMAND_LINE, ROOT, Server

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8").split(" AS server\n")[1]


def instruction(name):
    """The list after the stage's first instruction of that name."""
    return json.loads(re.search(rf"\b{name} (\[.*\])", DOCKERFILE).group(1))


def test_the_command_starts_and_the_health_check_finds_it():
    command = re.search(r"\nCMD (\[.*\])", DOCKERFILE).group(1)
    flags = [re.sub(r":\d+$", ":0", flag) for flag in json.loads(command)]
    assert instruction("ENTRYPOINT") == ["thermograd-server"]
    probe = re.search(r"HEALTHCHECK [^[]*CMD (\[.*\])", DOCKERFILE).group(1)
    _, *arguments = json.loads(probe)
    with Server(*flags) as server:
        port = server.grpc_address.rpartition(":")[2]
        address = f"--address=127.0.0.1:{port}"
        subprocess.run([COMMAND_LINE, *arguments, address], check=True)
    ended = subprocess.run([COMMAND_LINE, *arguments, address], capture_output=True, check=False)
    assert ended.returncode != 0
