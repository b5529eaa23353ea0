"""Runs the commands of the documentation that need AWS: each line of a block marked `sh aws`,
as it is written, in the order of the pages. README.md deploys the stacks that the others use.

EFFECTS has a function for each line. The part before its yield prepares what the line
needs, and the part after it checks what the line did. A line without one fails.
"""

import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess

import checks
from stack import ACCOUNT, REGION, WORK, Failed, Stack, eventually, expect

TREE, PROGRAMS = WORK / "tree", WORK / "programs"


class Commands:
    """What the lines have in common."""

    def __init__(self, emulator, webhook):
        self.emulator, self.webhook = emulator, webhook
        self.exports = []  # the lines with export of the block
        self.key = self.sync = self.topic = None  # of the stack, from the lines before
        self.values = {}  # of what the documentation leaves open, such as STACK
        self.dev, self.prod = (Stack(emulator, webhook, name) for name in ("syncplane-dev", "syncplane-prod"))

    def bash(self, line):
        """Runs a line after the exports of its block, and returns its exit status, its output and its errors."""
        for placeholder, value in self.values.items():
            line = re.sub(rf"\b{re.escape(placeholder)}\b", value, line)
        variables = {"PATH": f"{PROGRAMS}:{os.environ['AWS_BIN']}:{os.environ['PATH']}"}
        if re.search(r"syncplane (reconcile|replay)", line):  # which an operator may do
            session = self.prod.as_operator()
            variables |= {"AWS_ACCESS_KEY_ID": session["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
                          "AWS_SESSION_TOKEN": session["SessionToken"]}
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", "\n".join([*self.exports, line])], cwd=TREE, capture_output=True, text=True,
                              input="y\n", env={**self.emulator.environment, **variables})  # y: sam asks before it deploys to production
        if line.startswith("export ") and done.returncode == 0:
            self.exports.append(line)
        return done

    def revoked(self):
        """Returns the last column of the key in the list of keys, which is REVOKED."""
        lines = self.bash("bin/syncplane keys list --workspace acme").stdout.splitlines()
        return next(line.split()[-1] for line in lines if line.startswith(self.values["ID"]))

    def table(self, name):
        return self.emulator.client("dynamodb").describe_table(TableName=name)["Table"]

    def parameters(self):
        """Sets in samconfig.toml what docs/operations.md says to set, and the architecture of this machine."""
        topic = self.emulator.client("sns").create_topic(Name="alarms")["TopicArn"]
        path = TREE / "samconfig.toml"
        text = path.read_text()
        architecture = "x86_64" if os.uname().machine == "x86_64" else "arm64"
        text, topics = re.subn(r'"AlarmTopicArn="', f'"AlarmTopicArn={topic}"', text)
        expect(topics, 1, "samconfig.toml has an AlarmTopicArn")
        for stage, stack in ("dev", self.dev), ("prod", self.prod):
            text = text.replace(f'"Stage={stage}",', f'"Stage={stage}", "Architecture={architecture}", "OperatorRoleArn={stack.parameters["OperatorRoleArn"]}",')
        text = re.sub(r"(?m)^cached = false$", f'cached = false\nparameter_overrides = "Architecture={architecture}"', text)
        path.write_text(text)
        return topic


# README.md


def deploy(c):
    yield
    c.dev.describe()
    address = c.dev.outputs["CreateSyncUrl"]
    expect(address.endswith(checks.SYNCS), True, "CreateSyncUrl is the address of a create")
    expect(c.dev.send("POST", checks.SYNCS, checks.sync()).status, 401, "a create without a token")


def deploy_prod(c):
    yield
    c.prod.describe()
    expect(c.table(c.prod.outputs["TableName"])["DeletionProtectionEnabled"], True, "the table is protected")
    groups = c.emulator.client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/syncplane-prod")["logGroups"]
    expect({g.get("retentionInDays") for g in groups}, {365}, "the days for which logs are kept")
    alarms = c.emulator.client("cloudwatch").describe_alarms(AlarmNamePrefix="syncplane-prod")["MetricAlarms"]
    expect({action for a in alarms for action in a["AlarmActions"]}, {c.topic}, "the topics of the alarms")
    c.values["STACK"] = c.prod.name


# docs/operations.md, rotation of keys


def name_table(c):
    yield


def list_keys(c):
    output = yield
    expect("CI" in output.split(), False, "a key is listed before it is made")


def create_key(c):
    output = yield
    c.key = output.split()[-1]
    c.values["ID"] = c.key.split("_")[1]
    body = c.prod.send("POST", checks.SYNCS, checks.sync(), c.key)
    expect(body.status, 200, "a create with the key")
    c.sync = body.body["id"]
    expect(c.revoked(), "-", "the day when the key was revoked")


def revoke_key(c):
    yield
    expect(c.revoked() != "-", True, "the key is revoked")  # the API refuses it within a minute


# docs/operations.md, restore


def restore(c):
    now = datetime.datetime.now(datetime.timezone.utc)
    c.values |= {"OLD": c.prod.outputs["TableName"], "NEW": "restored", "2026-11-30T02:00:00Z": now.strftime("%Y-%m-%dT%H:%M:%SZ")}
    yield


def restored(c):
    yield
    expect(c.table("restored")["TableStatus"], "ACTIVE", "the status of the table")
    found = c.emulator.client("dynamodb").get_item(TableName="restored", Key={"pk": {"S": "acme"}, "sk": {"S": "SYNC#" + c.sync}})
    expect("Item" in found, True, "the table has the sync")


def set_stream(c):
    yield
    table = c.table("restored")
    expect(table["StreamSpecification"], {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}, "the stream")
    expect(table["DeletionProtectionEnabled"], True, "the table is protected")


def set_time_to_live(c):
    yield
    life = c.emulator.client("dynamodb").describe_time_to_live(TableName="restored")["TimeToLiveDescription"]
    expect((life["TimeToLiveStatus"], life["AttributeName"]), ("ENABLED", "expires_at"), "the time to live")


def set_recovery(c):
    yield
    backups = c.emulator.client("dynamodb").describe_continuous_backups(TableName="restored")["ContinuousBackupsDescription"]
    expect(backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"], "ENABLED", "the recovery")


def print_label(c):
    output = yield
    expect(json.loads(output), c.table("restored")["LatestStreamLabel"], "the label")


# docs/operations.md, repairs


def reconcile_dry_run(c):
    eventually("a schedule", lambda: c.prod.schedule(c.sync))
    c.emulator.client("scheduler").delete_schedule(Name="sync-" + c.sync, GroupName=c.prod.outputs["ScheduleGroupName"])
    output = yield
    expect(c.sync in output, True, "the sync is printed")
    expect(c.prod.schedule(c.sync), None, "the schedule after a dry run")


def reconcile(c):
    output = yield
    expect(c.sync in output, True, "the sync is printed")
    eventually("a schedule", lambda: c.prod.schedule(c.sync))


def replay_dry_run(c):
    due = c.prod.schedule(c.sync)["Target"]["Input"].replace("<aws.scheduler.scheduled-time>", "2026-11-23T06:00:00Z")
    c.emulator.client("sqs").send_message(QueueUrl=c.prod.resources["ScheduleFailures"], MessageBody=due)
    output = yield
    expect(c.sync in output, True, "the run is printed")
    expect(len(checks.messages(c.prod, "ScheduleFailures")), 1, "the messages after a dry run")


def replay(c):
    output = yield
    expect(c.sync in output, True, "the run is printed")
    expect(checks.messages(c.prod, "ScheduleFailures"), [], "the messages")


def replay_range(c):
    now = datetime.datetime.now(datetime.timezone.utc)
    for hours, placeholder in (-1, "2026-11-30T02:00:00Z"), (1, "2026-11-30T03:00:00Z"):
        c.values[placeholder] = (now + datetime.timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
    output = yield
    expect(c.sync + "/1" in output, True, "the event of the create is printed")


# docs/operations.md, IntakeFailureAlarm


def move_messages(c):
    c.values |= {"ARN_OF_INTAKE_FAILURES": checks.queue_arn(c.prod, "IntakeFailures"), "ARN_OF_INTAKE_QUEUE": checks.queue_arn(c.prod, "IntakeQueue")}
    request = {"id": "moved", "detail-type": "sync.create.requested", "source": "crm", "account": ACCOUNT, "region": REGION,
               "detail": {"workspace_id": "acme", "idempotency_key": "moved", **checks.sync(stream_name="moved")}}
    c.emulator.client("sqs").send_message(QueueUrl=c.prod.resources["IntakeFailures"], MessageBody=json.dumps(request))
    yield
    expect(checks.messages(c.prod, "IntakeFailures"), [], "the messages that are left")
    table, values = c.prod.outputs["TableName"], {":pk": {"S": "acme"}, ":name": {"S": "moved"}}

    def stored():
        return c.emulator.client("dynamodb").query(TableName=table, KeyConditionExpression="pk = :pk", FilterExpression="stream_name = :name",
                                                   ExpressionAttributeValues=values)["Count"]
    eventually("the sync of the request", stored)


EFFECTS = {
    "sam build && sam deploy": deploy,
    "sam build && sam deploy --config-env prod": deploy_prod,
    "export STORE=dynamodb TABLE_NAME=$(aws cloudformation describe-stacks --stack-name STACK --query "
    "\"Stacks[0].Outputs[?OutputKey=='TableName'].OutputValue\" --output text)": name_table,
    "bin/syncplane keys list --workspace acme": list_keys,
    "bin/syncplane keys create CI --workspace acme": create_key,
    "bin/syncplane keys revoke ID --workspace acme": revoke_key,
    "aws dynamodb restore-table-to-point-in-time --source-table-name OLD --target-table-name NEW --restore-date-time 2026-11-30T02:00:00Z": restore,
    "aws dynamodb wait table-exists --table-name NEW": restored,
    "aws dynamodb update-table --table-name NEW --stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES "
    "--deletion-protection-enabled": set_stream,
    "aws dynamodb update-time-to-live --table-name NEW --time-to-live-specification Enabled=true,AttributeName=expires_at": set_time_to_live,
    "aws dynamodb update-continuous-backups --table-name NEW --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true": set_recovery,
    "aws dynamodb describe-table --table-name NEW --query Table.LatestStreamLabel": print_label,
    "bin/syncplane reconcile --stack syncplane-prod --dry-run": reconcile_dry_run,
    "bin/syncplane reconcile --stack syncplane-prod": reconcile,
    "bin/syncplane replay --stack syncplane-prod --dry-run": replay_dry_run,
    "bin/syncplane replay --stack syncplane-prod": replay,
    "bin/syncplane replay --stack syncplane-prod --from 2026-11-30T02:00:00Z --to 2026-11-30T03:00:00Z": replay_range,
    "aws sqs start-message-move-task --source-arn ARN_OF_INTAKE_FAILURES --destination-arn ARN_OF_INTAKE_QUEUE": move_messages,
}


def blocks():
    """Returns the blocks marked `sh aws`: the page, and the lines with their numbers, without comments."""
    found = []
    for page in [pathlib.Path("README.md"), *sorted(pathlib.Path("docs").glob("*.md"))]:
        lines = None
        for number, line in enumerate(page.read_text().splitlines(), 1):
            if line.startswith("```") and lines is None:
                lines = []
                if line.split() == ["```sh", "aws"]:
                    found.append((page, lines))
            elif line.startswith("```"):
                lines = None
            elif lines is not None and (line := re.sub(r"(^|\s+)# .*", "", line)):
                lines.append((number, line))
    return found


def run_line(c, at, line):
    """Runs a line, and checks what it did."""
    effect = EFFECTS[line](c)
    next(effect)
    done = c.bash(line)
    if done.returncode:
        raise Failed(f"{at}: exit status {done.returncode} of {line}\n{(done.stdout + done.stderr)[-3000:]}")
    try:
        effect.send(done.stdout)
    except StopIteration:
        pass
    except Failed as err:
        raise Failed(f"{at}: {line}: {err}\n{(done.stdout + done.stderr)[-2000:]}") from None
    print(f"      ran  {at}: {line}", flush=True)


def commands(emulator, webhook):
    """Runs the commands of the documentation that need AWS."""
    there = {line for _, lines in blocks() for _, line in lines}
    expect(there - set(EFFECTS), set(), "the lines of the documentation that EFFECTS does not have")
    expect(set(EFFECTS) - there, set(), "the lines of EFFECTS that the documentation does not have")
    files = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True, text=True).stdout
    for name in filter(os.path.exists, files.split("\0")[:-1]):
        (TREE / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, TREE / name)
    (TREE / "bin").mkdir()
    shutil.copy("bin/syncplane", TREE / "bin/syncplane")
    PROGRAMS.mkdir()
    # Version 1 of the AWS CLI, which is that of PyPI, ignores AWS_ENDPOINT_URL for SQS.
    (PROGRAMS / "aws").write_text(f'#!/bin/sh\nexec {os.environ["AWSCLI_BIN"]}/aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"\n')
    (PROGRAMS / "aws").chmod(0o755)
    c = Commands(emulator, webhook)
    c.topic = c.parameters()
    for page, lines in blocks():
        c.exports = []
        for number, line in lines:
            run_line(c, f"{page}:{number}", line)
