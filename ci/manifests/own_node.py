"""Evaluates the ValidatingAdmissionPolicy of the manifests as an API server does: who may change what of which Node.

Usage: own_node.py POLICY.yaml. Prints one line per case; ends with 1 when a decision is not the expected one.
"""

import sys

import celpy
import yaml

PLUGIN = "system:serviceaccount:tandem:tandem-device-plugin"
NODE_CLAIM = "authentication.kubernetes.io/node-name"


def node(name="n1", labels=None, annotations=None, taints=None, unschedulable=None):
    spec = {}
    if taints is not None:
        spec["taints"] = taints
    if unschedulable is not None:
        spec["unschedulable"] = unschedulable
    metadata = {"name": name}
    if labels is not None:
        metadata["labels"] = labels
    if annotations is not None:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": spec}


def taint(key, effect="NoSchedule", value=None):
    return {"key": key, "effect": effect} | ({} if value is None else {"value": value})


OTHERS = {"kubernetes.io/hostname": "n1", "nvidia.com/device-plugin.config": "mps-config"}
SHARED = taint("nvidia.com/gpu.shared", value="true")
THEIRS = taint("team", value="a")

# what is done, user, node of the token, before, after, allowed
CASES = [
    ("nothing", PLUGIN, "n1", node(), node(), True),
    ("its labels on a bare node", PLUGIN, "n1", node(), node(labels={"nvidia.com/gpu.count": "4"}), True),
    ("its labels", PLUGIN, "n1", node(labels=OTHERS), node(labels=OTHERS | {"nvidia.com/mps.capable": "true"}), True),
    ("its labels of MIG", PLUGIN, "n1", node(labels=OTHERS), node(labels=OTHERS | {"nvidia.com/mig-1g.5gb.count": "7"}), True),
    ("removes its label", PLUGIN, "n1", node(labels=OTHERS | {"nvidia.com/gpu.count": "4"}), node(labels=OTHERS), True),
    ("its annotations", PLUGIN, "n1", node(annotations={"a": "b"}), node(annotations={"a": "b", "tandem.dev/config.applied": "x"}), True),
    ("its taints", PLUGIN, "n1", node(taints=[THEIRS]), node(taints=[THEIRS, SHARED, taint("tandem.dev/switching")]), True),
    ("removes its taints", PLUGIN, "n1", node(taints=[THEIRS, SHARED]), node(taints=[THEIRS]), True),
    ("another node", PLUGIN, "n2", node(), node(labels={"nvidia.com/gpu.count": "4"}), False),
    ("a token without a node", PLUGIN, None, node(), node(labels={"nvidia.com/gpu.count": "4"}), False),
    ("another's label", PLUGIN, "n1", node(labels=OTHERS), node(labels=OTHERS | {"node-role.kubernetes.io/control-plane": ""}), False),
    ("the label that chooses", PLUGIN, "n1", node(labels=OTHERS), node(labels=OTHERS | {"nvidia.com/device-plugin.config": "x"}), False),
    ("removes another's label", PLUGIN, "n1", node(labels=OTHERS), node(labels={"kubernetes.io/hostname": "n1"}), False),
    ("another's annotation", PLUGIN, "n1", node(annotations={"a": "b"}), node(annotations={"a": "c"}), False),
    ("removes another's annotation", PLUGIN, "n1", node(annotations={"a": "b"}), node(), False),
    ("another's taint", PLUGIN, "n1", node(), node(taints=[THEIRS]), False),
    ("changes another's taint", PLUGIN, "n1", node(taints=[THEIRS]), node(taints=[taint("team", value="b")]), False),
    ("removes another's taint", PLUGIN, "n1", node(taints=[THEIRS, SHARED]), node(taints=[SHARED]), False),
    ("cordons", PLUGIN, "n1", node(), node(unschedulable=True), False),
    ("an administrator does what he wants", "admin", None, node(), node("n1", OTHERS, None, [THEIRS], True), True),
]


class Policy:
    def __init__(self, spec):
        environment = celpy.Environment()
        def compiled(text):
            return environment.program(environment.compile(text))
        self.conditions = [compiled(c["expression"]) for c in spec["matchConditions"]]
        self.variables = [(v["name"], compiled(v["expression"])) for v in spec["variables"]]
        self.validations = [(v["message"], compiled(v["expression"])) for v in spec["validations"]]

    def refuses(self, user, claim, before, after):
        """The message of the first validation that does not hold; None when all do or the policy does not apply."""
        extra = {} if claim is None else {NODE_CLAIM: [claim]}
        request = {"userInfo": {"username": user, "extra": extra}}
        values = {"request": request, "object": after, "oldObject": before}
        context = {name: celpy.json_to_cel(value) for name, value in values.items()}
        if not all(condition.evaluate(context) for condition in self.conditions):
            return None
        known = celpy.json_to_cel({})
        for name, expression in self.variables:
            known[celpy.celtypes.StringType(name)] = expression.evaluate(context | {"variables": known})
        for message, expression in self.validations:
            if not expression.evaluate(context | {"variables": known}):
                return message
        return None


def main(path):
    with open(path, encoding="utf-8") as file:
        documents = [document for document in yaml.safe_load_all(file) if document]
    policy = Policy(next(d["spec"] for d in documents if d["kind"] == "ValidatingAdmissionPolicy"))
    wrong = 0
    for what, user, claim, before, after, allowed in CASES:
        refused = policy.refuses(user, claim, before, after)
        if (refused is None) != allowed:
            wrong += 1
            print(f"WRONG: {what}: {refused or 'allowed'}")
    print(f"{len(CASES)} cases, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
