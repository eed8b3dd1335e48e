"""What a study of a config takes from the one that it is `like`: settings and scales key by key, deviations joined.

A study's own deviation stands in the place of an inherited one about the same thing (`what`). Inherited ones that bear
on claims of other studies only are left out, and so are those that `no_deviation` names, as they do not hold here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from core.errors import BadInput, unknown_name
from core.papers.groups import merge_values, open_dotted_keys

NOT_INHERITED = ("says", "default", "like", "tune", "deviations", "no_deviation")


def expand(written: Mapping[str, Any]) -> dict[str, Any]:
    """The same config with every study whole: what it is `like` laid under it, keys with dots opened into groups."""
    studies = written.get("studies")
    if not isinstance(studies, Mapping):
        return dict(written)
    claims = _claims_by_study(written.get("claims"))
    return {**written, "studies": {name: _with_deviations(name, studies, claims) for name in studies}}


def _claims_by_study(claims: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, claim in claims.items() if isinstance(claims, Mapping) else ():
        if isinstance(claim, Mapping):
            found.setdefault(str(claim.get("study")), set()).add(str(name))
    return found


def _with_deviations(name: str, studies: Mapping[str, Any], claims: Mapping[str, set[str]]) -> Any:
    whole = _whole_study(name, studies, ())
    if not isinstance(whole, Mapping) or not isinstance(whole.get("like"), str):
        return whole
    if not isinstance(whole.get("deviations", []), list):
        return whole  # refused where types are checked
    own_claims = claims.get(name, set())
    joined = [each for owner, each in _joined(name, studies) if owner == name or _bears_on(each, own_claims)]
    return {**whole, "deviations": joined} if joined else whole


def _bears_on(deviation: Any, claims: set[str]) -> bool:
    """Whether a deviation bears on one of these claims; on what is open, it does."""
    named = deviation.get("bears_on") if isinstance(deviation, Mapping) else None
    return not named or not claims or bool(claims & set(map(str, named)))


def _joined(name: str, studies: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The deviations of a study behind those that it inherits, each with the study that declares it."""
    study = studies[name]
    if not isinstance(study, Mapping):
        return []
    own, parent = study.get("deviations") or [], study.get("like")
    above = _joined(parent, studies) if isinstance(parent, str) else []
    dropped = study.get("no_deviation") or []
    known = [_what(each) for _, each in above]
    for what in dropped if isinstance(dropped, list) else []:
        if what not in known:
            raise unknown_name(f"deviation in studies.{name}.no_deviation:", str(what), filter(None, known))
    replaced = {*map(_what, own), *dropped} if isinstance(own, list) else set(dropped)
    kept = [(owner, each) for owner, each in above if _what(each) not in replaced]
    return kept + [(name, each) for each in (own if isinstance(own, Iterable) else [])]


def _what(deviation: Any) -> Any:
    return deviation.get("what") if isinstance(deviation, Mapping) else None


def _whole_study(name: str, studies: Mapping[str, Any], above: tuple[str, ...]) -> Any:
    """A study with everything but deviations of the one that it is `like`."""
    own = studies[name]
    if not isinstance(own, Mapping):
        return own
    own = {key: open_dotted_keys(value) if key in ("settings", "scales") else value for key, value in own.items()}
    parent = own.get("like")
    if not isinstance(parent, str):
        return own
    if parent not in studies:
        raise unknown_name(f"study in studies.{name}.like:", parent, studies)
    if parent in (*above, name):
        raise BadInput(f"studies.{name}.like leads back to {parent}")
    base = _whole_study(parent, studies, (*above, name))
    inherited = {key: value for key, value in base.items() if key not in NOT_INHERITED}
    if "tune" in own:
        inherited.pop("tuned_by", None)
    return merge_values(inherited, own) | ({"arms": own["arms"]} if "arms" in own else {})
