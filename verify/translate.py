"""Translates template.yaml with SAM's own translator, as CloudFormation does.

All parameters are text, and references to them are resolved before SAM reads the
template or not, because AWS::LanguageExtensions may do either. A change of any
parameter that the API function uses must publish a version, because the alias moves to
versions only.
"""

import copy
import json
import sys

import boto3
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

with open("template.yaml", encoding="utf-8") as file:
    TEMPLATE = yaml_parse(file)
TEMPLATE["Resources"]["ApiFunction"]["Properties"]["CodeUri"] = "s3://bucket/api"
for function in "Relay", "Intake", "Reconcile":
    TEMPLATE["Resources"][function + "Function"]["Properties"]["CodeUri"] = "s3://bucket/" + function.lower()

DEFAULTS = {name: str(p.get("Default", "https://issuer.example.com/")) for name, p in TEMPLATE["Parameters"].items()}


def replaced(value, values, references):
    """Returns value as AWS::LanguageExtensions leaves it.

    It resolves Fn::ToJsonString, and, if references is true, all references to parameters.
    """
    if isinstance(value, dict):
        if list(value) == ["Fn::ToJsonString"]:
            return json.dumps(replaced(value["Fn::ToJsonString"], values, True))
        if references and list(value) == ["Ref"] and value["Ref"] in values:
            text = values[value["Ref"]]
            parameter = TEMPLATE["Parameters"][value["Ref"]]
            return text.split(",") if parameter["Type"] == "CommaDelimitedList" else text
        return {name: replaced(member, values, references) for name, member in value.items()}
    if isinstance(value, list):
        return [replaced(element, values, references) for element in value]
    return value


def translate(values, references):
    template = copy.deepcopy(TEMPLATE)
    for section in "Resources", "Conditions":
        template[section] = replaced(template[section], values, references)
    session = boto3.session.Session(region_name="us-east-1")
    return Translator({}, Parser(), boto_session=session).translate(template, dict(values))


def used(value):
    """Returns the parameters that a value depends on."""
    if isinstance(value, dict):
        if list(value) == ["Ref"] and value["Ref"] in DEFAULTS:
            return {value["Ref"]}
        if list(value) == ["Fn::Sub"] and isinstance(value["Fn::Sub"], str):
            return {name for name in DEFAULTS if "${" + name + "}" in value["Fn::Sub"]}
        if list(value) == ["Fn::If"]:
            return used(TEMPLATE["Conditions"][value["Fn::If"][0]]) | used(value["Fn::If"][1:])
        if list(value) == ["Condition"]:
            return used(TEMPLATE["Conditions"][value["Condition"]])
        return set().union(*(used(member) for member in value.values()))
    if isinstance(value, list):
        return set().union(*(used(element) for element in value))
    return set()


def version(translated):
    names = [name for name, r in translated["Resources"].items() if r["Type"] == "AWS::Lambda::Version"]
    if len(names) != 1:
        sys.exit(f"got the versions {names}, want that of ApiFunction alone")
    return names[0]


def other(name):
    """Returns another value of a parameter than its default."""
    parameter = TEMPLATE["Parameters"][name]
    if "AllowedValues" in parameter:
        return str(next(v for v in parameter["AllowedValues"] if str(v) != DEFAULTS[name]))
    if parameter["Type"] == "Number":
        return str(int(DEFAULTS[name]) + 1)
    return DEFAULTS[name] + "x"


def unpublished(references):
    """Returns the parameters that the function uses, and those of them whose change publishes no version."""
    configuration = {
        name: TEMPLATE["Resources"]["ApiFunction"]["Properties"].get(name) for name in ("Environment", "MemorySize", "Timeout")
    }
    first = version(translate(DEFAULTS, references))
    if version(translate(DEFAULTS, references)) != first:
        sys.exit("the same parameters publish another version")
    names = sorted(used(configuration))
    return names, [name for name in names if version(translate({**DEFAULTS, name: other(name)}, references)) == first]


failures = []
for references in True, False:
    names, missing = unpublished(references)
    print(f"references {'resolved' if references else 'not resolved'} before SAM: versions follow from {', '.join(names)}")
    failures += [f"a change of {name} publishes no version" for name in missing]

# The check finds the faults that it is for.
function = TEMPLATE["Resources"]["ApiFunction"]["Properties"]
description = function.pop("Description")
if not unpublished(False)[1]:
    failures.append("every change publishes a version without Description, too; remove it")
function["Description"] = description
function["Events"]["Wrong"] = {
    "Type": "DynamoDB",
    "Properties": {
        "Stream": "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/s",
        "StartingPosition": "LATEST",
        "ParallelizationFactor": {"Ref": "RelayParallelization"},
    },
}
try:
    translate(DEFAULTS, True)
    failures.append("a number that arrives as text in an event of a function was accepted")
except InvalidDocumentException as exception:
    print("refused, as it must be:", exception.causes[0].message)

for failure in failures:
    print("FAILED:", failure)
sys.exit(1 if failures else 0)
