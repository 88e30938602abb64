"""Compares what each function may do at AWS and at its vaults with what it did while every test ran.

A right that is used and not granted fails, and so does one that is granted and never used. The record is written by the
simulators (`infra/sim/src/rights.rs`), the rights at AWS are those of the expanded template, and those at vaults what
README has the operator grant to each identity. What no simulator can see follows from the template itself: the
parameters that a function's variables name, and what Lambda does in its name at the queue that feeds it.
"""

import copy
import json
import sys
from pathlib import Path
from typing import NamedTuple

from cfnlint.decode.cfn_yaml import load

from template import expand

# The simulators' names of the template's resources.
RESOURCES = {
    "table": "Table",
    "table/index/due": "Table/index/due",
    "inbound.fifo": "InboundQueue",
    "inbound-dlq.fifo": "InboundDeadLetters",
    "refresh": "RefreshQueue",
    "refresh-dlq": "RefreshDeadLetters",
    "lifecycle": "LifecycleQueue",
    "lifecycle-dlq": "LifecycleDeadLetters",
}
# What each identity may do with secrets, by the parameter that names it. Only one of those that open people's tokens
# may delete, and only one function has it.
IDENTITIES = {
    "AzureClientId": {"Get", "Set", "Update", "Recover"},
    "AzureRemoverClientId": {"Get", "Set", "Update", "List", "Delete", "Purge"},
    "AzureReconcilerClientId": {"Get", "Set", "Update", "Recover", "List", "Delete", "Purge"},
}
REMOVER = ("AzureRemoverClientId", "scheduled-refresh")
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
FEEDING = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
LEADING_KEYS = "dynamodb:LeadingKeys"
# Policies of AWS that SAM attaches by itself, with the reason to let them be.
MANAGED = {
    "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole":
        "writes log streams in any group of the account; SAM attaches it to every function that has no role of its own",
}


class Right(NamedTuple):
    """An action on a resource, for DynamoDB with the kind of partition key."""

    function: str
    action: str
    resource: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.function}: {self.action} on {self.resource} {self.key}".rstrip()

    def covers(self, other: "Right") -> bool:
        mine, theirs = self[:2], other[:2]
        return mine == theirs and self.resource in ("*", other.resource) and self.key in ("*", other.key)


def listed(value) -> list:
    return [] if value is None else value if isinstance(value, list) else [value]


def resource_name(resource) -> str:
    match resource:
        case {"Fn::GetAtt": [name, "Arn"]} | {"Fn::GetAtt": [name, "QueueName"]}:
            return name
        case {"Fn::Sub": str(text)}:
            is_parameter = ":ssm:" in text
            return text.rsplit("${SsmPrefix}/")[-1] if is_parameter else text.replace("${Table.Arn}", "Table")
        case str(text):
            return text
    raise ValueError(f"a resource in a form that is not read here: {resource}")


def granted(function: str, statement: dict) -> list[Right]:
    """The rights of a statement. One about the table without a condition on its keys is for every key."""
    conditions = statement.get("Condition", {}).get("ForAllValues:StringLike", {})
    rights = []
    for action in listed(statement["Action"]):
        keys = listed(conditions.get(LEADING_KEYS)) or ["*"] if action.startswith("dynamodb:") else [""]
        for resource in listed(statement["Resource"]):
            rights += [Right(function, action, resource_name(resource), key) for key in keys]
    return rights


def functions(source: dict) -> dict[str, str]:
    """The folder of each function by its id."""
    resources = source["Resources"].items()
    return {
        name: resource["Properties"]["CodeUri"].removeprefix("functions/")
        for name, resource in resources if resource["Type"] == "AWS::Serverless::Function"
    }


def grants(folders: dict[str, str], expanded: dict) -> tuple[list[Right], list[str]]:
    """Every right of every function, and policies that are not written in the template."""
    rights, unknown = [], []
    resources = expanded["Resources"]
    for name, folder in folders.items():
        role = resources[resources[name]["Properties"]["Role"]["Fn::GetAtt"][0]]["Properties"]
        documents = [policy["PolicyDocument"] for policy in role.get("Policies", [])]
        for policy in role.get("ManagedPolicyArns", []):
            if isinstance(policy, dict):
                documents.append(resources[policy["Ref"]]["Properties"]["PolicyDocument"])
            elif policy not in MANAGED:
                unknown.append(f"{folder} has the policy {policy}, which is not written here")
        for document in documents:
            for statement in listed(document["Statement"]):
                rights += granted(folder, statement)
    return rights, unknown


def implied(folders: dict[str, str], expanded: dict) -> set[Right]:
    """What the template itself says that a function, or Lambda in its name, will do."""
    rights = set()
    resources = expanded["Resources"].values()
    for name, folder in folders.items():
        variables = expanded["Resources"][name]["Properties"].get("Environment", {}).get("Variables", {})
        for value in variables.values():
            text = value.get("Fn::Sub", "") if isinstance(value, dict) else ""
            if text.startswith("ssm:"):
                rights.add(Right(folder, "ssm:GetParameters", text.rsplit("${SsmPrefix}/")[-1]))
    for resource in resources:
        if resource["Type"] == "AWS::Lambda::EventSourceMapping":
            folder = folders[resource["Properties"]["FunctionName"]["Ref"]]
            queue = resource_name(resource["Properties"]["EventSourceArn"])
            rights |= {Right(folder, action, queue) for action in FEEDING}
    return rights


def recorded(folder: Path) -> set[Right]:
    rights = set()
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            call = json.loads(line)
            resource = RESOURCES.get(call["resource"], call["resource"])
            rights.add(Right(call["function"], call["action"], resource, call.get("key", "")))
    return rights


def identity(name: str, expanded: dict) -> str | None:
    """The parameter that names the application at Azure by which a function signs in."""
    variables = expanded["Resources"][name]["Properties"].get("Environment", {}).get("Variables", {})
    return variables.get("AZURE_CLIENT_ID", {}).get("Ref")


def at_vaults(folders: dict[str, str], expanded: dict, calls: set[Right]) -> list[str]:
    """What is wrong with the identities, a sentence each."""
    findings, used = [], {}
    holders = {folder: identity(name, expanded) for name, folder in folders.items()}
    for call in sorted(calls):
        operation = call.action.removeprefix("vault:")
        holder = holders.get(call.function)
        used.setdefault(holder, set()).add(operation)
        if operation not in IDENTITIES.get(holder, set()):
            findings.append(f"used and not granted: {call} by {holder}")
    for name, operations in IDENTITIES.items():
        unused = sorted(operations - used.get(name, set()))
        findings += [f"granted and never used: vault:{operation} of {name}" for operation in unused]
    parameter, owner = REMOVER
    others = [folder for folder, holder in holders.items() if holder == parameter and folder != owner]
    return findings + [f"{folder} must not have {parameter}" for folder in others]


def compare(folders: dict[str, str], expanded: dict, calls: set[Right]) -> list[str]:
    """What is wrong, a sentence each."""
    rights, findings = grants(folders, expanded)
    vault_calls = {call for call in calls if call.action.startswith("vault:")}
    used = (calls - vault_calls) | implied(folders, expanded)
    findings += at_vaults(folders, expanded, vault_calls)
    findings += [f"used and not granted: {call}" for call in sorted(used) if not any(r.covers(call) for r in rights)]
    findings += [f"granted and never used: {right}" for right in sorted(set(rights)) if right not in used]
    return findings


def plants(folders: dict[str, str], expanded: dict):
    """The template with a mistake, each with its name: the comparison must see them."""
    function = next(name for name, folder in folders.items() if folder == "tenant-reconcile")
    role = expanded["Resources"][function]["Properties"]["Role"]["Fn::GetAtt"][0]

    def statement(template: dict, action: str) -> dict:
        documents = template["Resources"][role]["Properties"]["Policies"]
        statements = [s for document in documents for s in document["PolicyDocument"]["Statement"]]
        return next(s for s in statements if action in listed(s["Action"]))

    dropped = copy.deepcopy(expanded)
    with_delete = statement(dropped, "dynamodb:DeleteItem")
    with_delete["Action"] = [action for action in listed(with_delete["Action"]) if action != "dynamodb:DeleteItem"]
    yield "an action is dropped", dropped
    widened = copy.deepcopy(expanded)
    statement(widened, "sqs:SendMessage")["Resource"] = "*"
    yield "a resource is widened", widened
    remover = copy.deepcopy(expanded)
    mail = next(name for name, folder in folders.items() if folder == "runtime-gmail")
    remover["Resources"][mail]["Properties"]["Environment"]["Variables"]["AZURE_CLIENT_ID"] = {"Ref": REMOVER[0]}
    yield "the mail reader may delete tokens", remover
    unbound = copy.deepcopy(expanded)
    del statement(unbound, "dynamodb:DeleteItem")["Condition"]
    yield "the keys are not bound", unbound


def main(path: str, record: str) -> int:
    folders, expanded, calls = functions(load(path)), expand(path), recorded(Path(record))
    if not calls:
        print(f"`{record}` holds no calls: were the tests run with `NBHD_RIGHTS` set to it?", file=sys.stderr)
        return 1
    findings = compare(folders, expanded, calls)
    for name, template in plants(folders, expanded):
        if not set(compare(folders, template, calls)) - set(findings):
            findings.append(f"the comparison does not see it when {name}")
    for finding in findings:
        print(finding, file=sys.stderr)
    allowed = "; ".join(f"{policy.rsplit('/')[-1]} {reason}" for policy, reason in MANAGED.items())
    print(f"rights: {len(calls)} used by {len(folders)} functions, {len(findings)} findings; let be: {allowed}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
