"""`cmake --install` to a prefix, which may be moved afterwards."""

import subprocess

from system_support import Server
from installed import BUILD, best_level, simd_level


def test_the_programs_run_from_any_place_with_the_best_kernels(tmp_path):
    prefix, moved = tmp_path / "prefix", tmp_path / "moved"
    subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix, "--strip"], check=True)
    unit = (prefix / "lib/systemd/system/thermograd-server.service").read_text(encoding="utf-8")
    assert f"ExecStart={prefix}/bin/thermograd-server $THERMOGRAD_SERVER_FLAGS\n" in unit
    assert f"EnvironmentFile=-{prefix}/etc/default/thermograd-server\n" in unit
    assert (prefix / "etc/default/thermograd-server").is_file()

    prefix.rename(moved)
    # The build tree's kernels must not be what is found.
    with Server(program=moved / "bin/thermograd-server") as server:
        assert simd_level(server) == best_level()
        maps = [
            line.split()[-1]
            for line in server.memory_map().splitlines()
            if "libthermograd_kernels" in line
        ]
        assert maps and all(str(moved) in path for path in maps)
        probe = [moved / "bin/thermograd", "probe", f"--address={server.grpc_address}"]
        assert subprocess.run(probe, check=True, stdout=subprocess.PIPE).stdout == b"serving\n"
