"""Build the wheel and look into it: the seppo package with its types, and nothing else."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TOP = Path(__file__).parents[1]

# The wheel is built from a copy: setuptools packs what an earlier build has left in build/.
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")


def main():
    """Return the exit code: 0 if the wheel holds what it should."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(TOP, copy, ignore=LEFT_OUT)
        command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "-q"]
        subprocess.run([*command, "--no-deps", "-w", folder, str(copy)], check=True)
        (wheel,) = Path(folder).glob("seppo-*.whl")
        names = zipfile.ZipFile(wheel).namelist()
    sources = {str(path.relative_to(TOP)) for path in (TOP / "seppo").rglob("*.py")}
    wanted = sources | {"seppo/py.typed"}
    packed = {name for name in names if ".dist-info/" not in name}
    for name in sorted(wanted - packed):
        print(f"{wheel.name} lacks {name}")
    for name in sorted(packed - wanted):
        print(f"{wheel.name} should not hold {name}")
    if packed != wanted:
        return 1
    print(f"{wheel.name}: {len(packed)} files, all of them seppo's")
    return 0


if __name__ == "__main__":
    sys.exit(main())
