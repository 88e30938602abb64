"""Checks `template.yaml` as CloudFormation will see it: SAM is expanded first, since its shorthand hides mistakes.

`rust-cargolambda` packages are built elsewhere, so a function's code becomes a place in a bucket for the expansion.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cfnlint.decode.cfn_yaml import load
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

REGION = "eu-central-1"
# W2001: a parameter that only the unexpanded template uses. W3037: an IAM action newer than the linter.
IGNORED = ["W2001", "W3037"]


def expand(path: str) -> dict:
    """The template as CloudFormation gets it from SAM."""
    template = json.loads(json.dumps(load(path), default=str))
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = {"Bucket": "packages", "Key": "bootstrap.zip"}
    os.environ["AWS_DEFAULT_REGION"] = REGION
    return Translator({}, Parser()).translate(template, {})


def main(path: str) -> int:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(expand(path), file)
        file.flush()
        linter = [Path(sys.executable).with_name("cfn-lint"), "--regions", REGION]
        return subprocess.run([*linter, "--ignore-checks", *IGNORED, "--", file.name], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
