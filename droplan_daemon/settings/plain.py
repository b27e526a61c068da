"""What boot can read of the file: a shell before Python reads plain lines and nothing else. Pure.

Law: `plainly` agrees with the function of that name in `systemd/restore`, for every text. What is
not plain counts as closed there, so `check` warns about it.
"""

import re

_BLANK = re.compile(r"[ \t]")
_COMMENT = re.compile(r"[ \t]*(#.*)?$")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")


def plainly(text: str) -> str:
    """Why boot may leave the network open without a ruleset to restore.

    `open`: [boot] says so; `audit`: nothing is ever dropped; `unmanaged`: neither is the private interface
    guarded otherwise; empty: it may not.
    """
    if '"""' in text or "'''" in text:
        return ""
    found: dict[tuple[str, str], str] = {}
    headers: dict[str, int] = {}
    section, overridden = "", False
    for raw in text.split("\n"):
        line = _COMMENT.sub("", raw.removesuffix("\r").lstrip(" \t"), count=1)
        overridden = overridden or "override" in line or "\\" in line
        if line.startswith("["):
            section = _BLANK.sub("", line)
            headers[section] = headers.get(section, 0) + 1
            continue
        key, equals, value = _EQUALS.sub("=", line).partition("=")
        if equals:
            found[section, key] = found.get((section, key), "") + value
    if found.get(("[boot]", "without_checkpoint")) == '"open"' and headers["[boot]"] == 1:
        return "open"
    if overridden:
        return ""
    if found.get(("", "mode")) == '"audit"':
        return "audit"
    return "unmanaged" if found.get(("[private]", "managed")) == "false" and headers["[private]"] == 1 else ""
