#!/bin/sh
# droplan in its own environment. Isolated (-I): nothing that a caller's PYTHON* variables or folder say counts.
python=/usr/lib/droplan/venv/bin/@PYTHON@
if [ ! -x "$python" ]; then
    echo "droplan: this package was built for @PYTHON@, and /usr/bin/@PYTHON@ is gone." \
        "Install the droplan package for this release of Debian. The rules that stand are kept, at boot too." >&2
    exit 78
fi
exec "$python" -I -m droplan_daemon "$@"
