"""The shell script that has another machine join, where seppo need not be installed.

It does what ``install`` does, in POSIX sh. All of it is one function that is called in the last
line, so that a script that arrives in part does nothing. In the end it prints what lies there
now, for us to compare: that needs no program there but ``cat``.
"""

from __future__ import annotations

import secrets

from seppo.errors import SecurityError
from seppo.trust.joinfile import (
    CERTIFICATES,
    KEY_FILE,
    NAMES,
    OF_OLD_KEYS,
    SETTINGS_FILE,
    JoinFile,
)
from seppo.trust.keyfile import Key, parse_key
from seppo.trust.revoked import REVOKED_FILE
from seppo.trust.tls import CA_FILE

OTHER_KEYS = 3  # exit code of the script
COMPARED = (KEY_FILE, *CERTIFICATES)  # what else is sent is put to what is there

_SCRIPT = """\
join_seppo() {{
set -eu
umask 077
folder=${{XDG_CONFIG_HOME:-}}
case $folder in /*) ;; *) folder=$HOME/.config ;; esac
folder=$folder/seppo
new=$folder/.join-$$
mkdir -p "$folder"
trap 'rm -rf "$new"' EXIT
mkdir "$new"
{files}
other=
for name in {identity}; do
    if [ -e "$folder/$name" ] && [ "$(cat "$folder/$name")" != "$(cat "$new/$name")" ]; then
        other=yes
    fi
done
if [ "$other" ] && [ {replace} = no ]; then exit {refusal}; fi
if [ -e "$folder/{settings}" ]; then
    sed {deleted} "$folder/{settings}" >>"$new/{settings}"
fi
if [ -e "$folder/{revoked}" ] && [ ! "$other" ]; then
    sort -u "$folder/{revoked}" "$new/{revoked}" >"$new/all"
    mv "$new/all" "$new/{revoked}"
fi
if [ "$other" ]; then (cd "$folder" && rm -f {all}); fi
for name in {names}; do mv -f "$new/$name" "$folder/$name"; done
echo {mark}
for name in {compared}; do cat "$folder/$name"; done
echo {mark}
cat "$folder/{revoked}"
echo {mark}
}}
join_seppo
"""


class JoinScript:
    """A script for one machine, and the check of its answer.

    Args:
        joined: What the machine is given.
        replace: Also in the place of other keys.

    Attributes:
        text: The script.
    """

    def __init__(self, joined: JoinFile, replace: bool = False) -> None:
        self._mark = f"seppo-{secrets.token_hex(16)}"  # no line of a file is like it
        always = {SETTINGS_FILE: "", REVOKED_FILE: ""}
        files = {**always, **joined.files}
        names = [name for name in NAMES if name in files]
        compared = [name for name in COMPARED if name in files]
        self._revoked = set(files[REVOKED_FILE].splitlines())
        self._expected = "".join(files[name] for name in compared)
        self.text = _SCRIPT.format(
            files="\n".join(
                f"cat >\"$new/{name}\" <<'{self._mark}'\n{text}{self._mark}"
                for name, text in files.items()
            ),
            identity=" ".join(name for name in (KEY_FILE, CA_FILE) if name in files),
            replace="yes" if replace else "no",
            refusal=OTHER_KEYS,
            all=" ".join(OF_OLD_KEYS),
            revoked=REVOKED_FILE,
            settings=SETTINGS_FILE,
            deleted=" ".join(f"-e '/^{name} *=/d'" for name in joined.settings) or "''",
            names=" ".join(names),
            compared=" ".join(compared),
            mark=self._mark,
        )

    def check(self, output: str) -> Key:
        """Return the key that lies on the machine now.

        Args:
            output: What the script has printed; a login shell may have said more.

        Raises:
            SecurityError: If something else lies there than was sent.
        """
        _, _, rest = output.partition(f"{self._mark}\n")
        content, _, rest = rest.partition(f"{self._mark}\n")
        revoked, mark, _ = rest.partition(f"{self._mark}\n")
        is_complete = mark and self._revoked <= set(revoked.splitlines())
        if not is_complete or content != self._expected:
            raise SecurityError("what lies there now is not what was sent")
        return parse_key(content.partition("\n")[0].encode(), "there")
