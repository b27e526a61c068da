"""What scripts and crontabs of the old droplan say, in all the ways in which people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.migrate import cron, shell
from droplan_daemon.migrate.runs import told

FILES = {
    "/opt/droplan/refresh.sh": "#!/usr/bin/env bash\n\n/opt/droplan/droplan\n# service iptables save\n",
    "/opt/droplan/loop.sh": "#!/bin/sh\n/opt/droplan/loop.sh\n",
    "/opt/droplan/env.sh": "DO_KEY=sourced\nDO_TAG=web\n",
    "/opt/droplan/sourcing.sh": "#!/bin/sh\n. /opt/droplan/env.sh\nexport DO_KEY\n/opt/droplan/droplan\n",
    "/root/key": "from-file\n",
    "/root/docker.env": "# comment\nDO_KEY=enved\nPUBLIC=true\n",
    "/usr/local/bin/backup.sh": "#!/bin/sh\ntar cf /backup.tar /opt/droplan\n",
}


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("DO_KEY=plain /opt/droplan/droplan", "plain"),
        ("DO_KEY='single quoted' droplan", "single quoted"),
        ('DO_KEY="double" droplan', "double"),
        ("DO_KEY=\"dou\"bl'ed' droplan", "doubled"),
        ("DO_KEY=back\\ slash droplan", "back slash"),
        ("export DO_KEY=exported; droplan", "exported"),
        ("DO_KEY=first && export DO_KEY && droplan", "first"),
        ("DO_KEY=old\nDO_KEY=new droplan", "new"),
        ("env -i DO_KEY=env /usr/local/bin/droplan", "env"),
        ("sudo DO_KEY=sudo droplan", "sudo"),
        ("KEY=x; DO_KEY=$KEY droplan", "x"),
        ('KEY=x; DO_KEY="${KEY}" droplan', "x"),
        ("DO_KEY=${NOTHING:-fallback} droplan", "fallback"),
        ("DO_KEY=$(cat /root/key) droplan", "from-file"),
        ("DO_KEY=`cat /root/key` droplan", "from-file"),
        ('DO_KEY="$(< /root/key)" droplan', "from-file"),
        ("# DO_KEY=comment\nDO_KEY=real droplan # DO_KEY=no", "real"),
        ("DO_KEY=ab#c droplan", "ab#c"),
        ("DO_KEY=long \\\n  droplan", "long"),
        ("DO_KEY=piped droplan 2>&1 | logger -t droplan", "piped"),
        ("DO_KEY=out droplan >/var/log/droplan.log 2>&1", "out"),
        ("DO_KEY=out >/dev/null droplan", "out"),
        ("if true; then DO_KEY=inside droplan; fi", "inside"),
        ("cd /opt/droplan && DO_KEY=here ./droplan", "here"),
        ("DO_KEY=script /opt/droplan/refresh.sh", "script"),
        ("bash /opt/droplan/sourcing.sh", "sourced"),
        ("DO_KEY=wrapped timeout 60 /opt/droplan/refresh.sh", "wrapped"),
        ("DO_KEY=locked flock -n /run/lock /opt/droplan/droplan", "locked"),
        ("docker run --rm --net=host -e DO_KEY=boxed tam7t/droplan", "boxed"),
        ("DO_KEY=handed docker run --rm --env DO_KEY tam7t/droplan:latest", "handed"),
        ("docker run --env=DO_KEY=equals docker.io/tam7t/droplan:v1", "equals"),
        ("docker run --env-file /root/docker.env tam7t/droplan", "enved"),
        ("DO_KEY=$(vault read droplan) droplan", None),
        ("DO_KEY=a$(id)b droplan", None),
        ("DO_KEY=$(cat /nowhere) droplan", None),
    ],
)
def test_the_key_is_found_however_it_is_written(command: str, key: str | None) -> None:
    """Quotes, exports, files, wrappers and containers give the key that the program would have seen."""
    found = told(command, {}, FILES.get)
    assert found is not None
    assert key == found["DO_KEY"]


@pytest.mark.parametrize(
    "command",
    [
        "",
        "# droplan",
        "droplan once",
        "DO_KEY=x droplan run",
        "/usr/bin/droplan --config /etc/x plan",
        "cp droplan /opt/droplan/droplan",
        "/usr/local/bin/backup.sh",
        "docker run -e DO_KEY=x nginx",
        "/opt/droplan/loop.sh",
        "echo '/opt/droplan/droplan'",
        "'unfinished",
        "$(unfinished",
        "DO_KEY=${",
    ],
)
def test_other_commands_are_not_the_old_program(command: str) -> None:
    """The new program, programs that merely speak of it, and unfinished text run nothing old."""
    assert told(command, {}, FILES.get) is None


@given(st.text(alphabet="ab=$(){}`'\"\\ \n;|&<>#/.", max_size=40))
def test_any_text_is_read_to_its_end(text: str) -> None:
    """No text, however broken, keeps the reader busy or makes it fail."""
    shell.read(text, {"a": "b"}, lambda _: None)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_what_is_quoted_comes_back(value: str) -> None:
    """Any value in single quotes, its own quotes escaped as a shell wants it, is read as it was."""
    quoted = "'" + value.replace("'", "'\\''") + "'"
    assert value == shell.read(f"X={quoted}", {}, lambda _: None).variables["X"]


@pytest.mark.parametrize(
    ("line", "users", "command"),
    [
        ("*/5 * * * * root PATH=/sbin droplan", True, "PATH=/sbin droplan"),
        ("*/5 * * * * PATH=/sbin droplan", False, "PATH=/sbin droplan"),
        ("*/5 * * * * root PATH=/sbin droplan", False, "PATH=/sbin droplan"),
        ("@reboot root droplan", True, "droplan"),
        ("@daily droplan", False, "droplan"),
        ("  0,30 1-5 * jan mon root  droplan", True, "droplan"),
        ("* * * * * root droplan%input", True, "droplan"),
        (r"* * * * * root DO_KEY=a\%b droplan", True, "DO_KEY=a%b droplan"),
    ],
)
def test_a_job_is_what_cron_would_run(line: str, users: bool, command: str) -> None:
    """The command of a line, with and without a user before it, up to an unescaped percent sign."""
    assert [command] == [job.command for job in cron.jobs(line, users=users)]


def test_variables_stand_for_the_lines_after_them() -> None:
    """A variable counts from its line on, without its quotes; comments and empty lines count for nothing."""
    text = "# DO_KEY=no\nDO_KEY = 'one'\n\n* * * * * root a\nDO_KEY=two\n* * * * * root b\n"
    found = cron.jobs(text, users=True)
    assert [(3, "a", {"DO_KEY": "one"}), (5, "b", {"DO_KEY": "two"})] == [
        (job.line, job.command, job.variables) for job in found
    ]
