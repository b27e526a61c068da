"""Chains of the table `filter` in what iptables-save prints. PURE.

Law: as of `nft_json`: what is not understood makes a rule conditional. A rule that hands over to a chain of
ours counts as accepting: who is let in there is let in.
"""

import shlex

from .facts import Chain, Rule

_HOOKS = {"INPUT": "input", "FORWARD": "forward", "OUTPUT": "output"}
_VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
_INERT = {"LOG", "NFLOG"}
_OURS = "droplan-"


def chains(text: str, program: str) -> tuple[Chain, ...]:
    """Every chain but ours; `program` is the command that shows them (`iptables-legacy`)."""
    policies: dict[str, str] = {}
    rules: dict[str, list[Rule]] = {}
    inside = False
    for line in text.splitlines():
        if line.startswith("*"):
            inside = line.strip() == "*filter"
        elif inside and line.startswith(":"):
            name, policy = (*line[1:].split(), "-", "-")[:2]
            policies[name] = _VERDICTS.get(policy, "accept")
        elif inside and (words := _words(line))[:1] == ["-A"] and len(words) > 1:
            rules.setdefault(words[1], []).append(_rule(words[2:]))
    return tuple(
        Chain(program, name, _HOOKS.get(name, ""), 0, policy, tuple(rules.get(name, ())))
        for name, policy in policies.items()
        if not name.startswith(_OURS)
    )


def _words(line: str) -> list[str]:
    text = line.partition("] ")[2] if line.startswith("[") else line
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _rule(words: list[str]) -> Rule:
    links: tuple[str, ...] = ()
    others = conditional = negated = new = False
    verdict = target = ""
    rest = iter(words)
    for word in rest:
        if word == "!":
            negated = True
            continue
        if word in {"-i", "-o"} and not links:
            links, others = (next(rest, ""),), negated
        elif word in {"-j", "-g"}:
            target = next(rest, "")
            verdict = _verdict(word, target)
            break  # what follows are the target's own words
        elif word == "--comment":
            next(rest, "")
        elif word == "-m":
            conditional |= next(rest, "") not in {"comment", "conntrack", "state"}
        elif word in {"--ctstate", "--state"} and not negated:
            new = "NEW" in next(rest, "").split(",")
            conditional |= not new
        else:
            conditional = True
        negated = False
    handed = verdict in {"jump", "goto"}
    if handed and target.startswith(_OURS):
        verdict, handed = "accept", False
    return Rule(
        verdict,
        target if handed else "",
        links,
        others,
        conditional=conditional or (new and verdict == "accept"),
    )


def _verdict(word: str, target: str) -> str:
    if target in _INERT:
        return ""
    return _VERDICTS.get(target, "jump" if word == "-j" else "goto")
