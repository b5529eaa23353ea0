"""The emulator, a webhook receiver and deployed stacks, for checks.py and mutations.py.

WORK is a directory for this run. AWS_BIN, AWSCLI_BIN and STACK_BIN are the directories of
the programs of verify/requirements-aws.txt, requirements-awscli.txt and
requirements-stack.txt.
"""

import collections
import http.client
import http.server
import json
import os
import pathlib
import random
import shlex
import signal
import socket
import ssl
import subprocess
import threading
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

WORK = pathlib.Path(os.environ["WORK"])
REGION, ACCOUNT = "eu-central-1", "123456789012"
COMMAND = os.path.abspath("bin/syncplane")
CERTIFICATE, KEY = WORK / "cert.pem", WORK / "key.pem"


WEBHOOK_KEY = "hush, hush"


class Failed(Exception):
    """A check found another result than it expects."""


def expect(got, want, what):
    if got != want:
        raise Failed(f"{what}: got {got!r}, want {want!r}")


def eventually(what, attempt, timeout=15):
    """Returns the first true result of attempt, or fails."""
    deadline = time.monotonic() + timeout * PATIENCE
    while not (result := attempt()):
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {timeout * PATIENCE:g} s")
        time.sleep(0.1)
    return result


PATIENCE = float(os.environ.get("PATIENCE", "1"))  # multiplies each timeout


def free_port():
    """Returns a port below those of connections, one of which may have another port before a server listens on it."""
    while True:
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", random.randrange(20000, 32768)))
                return s.getsockname()[1]
            except OSError:
                pass


def make_certificate():
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", KEY, "-out", CERTIFICATE,
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:*.execute-api.localhost"],
        check=True, stderr=subprocess.DEVNULL)


class Emulator:
    """MiniStack with our additions, in a process of its own."""

    def __init__(self):
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        # The test is the root user of the account, whom no policy restricts.
        self.environment = {
            **os.environ, "AWS_ENDPOINT_URL": self.url, "AWS_CA_BUNDLE": str(CERTIFICATE), "SSL_CERT_FILE": str(CERTIFICATE),
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION,
            "SAM_CLI_POLL_DELAY": "0.5", "DOCKER_HOST": "unix:///nonexistent",
        }
        self.log = WORK / "emulator.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [os.environ["STACK_BIN"] + "/python", pathlib.Path(__file__).parent / "emulator.py"],
                env={**self.environment, "AUTH": "true", "USE_SSL": "1", "MINISTACK_SSL_CERT": str(CERTIFICATE),
                     "MINISTACK_SSL_KEY": str(KEY), "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(self.port),
                     "MINISTACK_REGION": REGION, "MINISTACK_ACCOUNT_ID": ACCOUNT, "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0",
                     "TMPDIR": str(WORK)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        eventually("the emulator listens", self._listens, 60)
        self.secret = self.client("secretsmanager").create_secret(Name="webhook", SecretString=WEBHOOK_KEY)["ARN"]

    def _listens(self):
        if self.process.poll() is not None:
            raise Failed("the emulator ended:\n" + self.log.read_text()[-3000:])
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)  # the functions are its children
        self.process.wait()

    def received(self, function):
        """Returns the changes that a function received of streams, each once: its kind, and the keys of the item."""
        lines = [line.removeprefix("received: ") for line in self.log.read_text().splitlines() if line.startswith("received: ")]
        return list({e["sequence"]: e for e in map(json.loads, lines) if e["function"] == function}.values())

    def client(self, service, account="test", session=None, patient=False):
        """Returns a client of the root user, of the account with the stacks or another one, or of a role's session.

        A patient client waits for its answer for as long as a function may take.
        """
        key = session or {"AccessKeyId": account, "SecretAccessKey": "test", "SessionToken": None}
        return boto3.client(
            service, config=Config(read_timeout=900, retries={"total_max_attempts": 1}) if patient else None,
            endpoint_url=self.url, region_name=REGION, verify=str(CERTIFICATE), aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"], aws_session_token=key["SessionToken"])

    def run(self, *command, **variables):
        """Runs a program with the emulator as AWS, and returns its output."""
        done = subprocess.run(command, env={**self.environment, **variables}, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{' '.join(map(str, command[:3]))}: exit status {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
        return done.stdout


class Webhook:
    """An HTTPS server that keeps the events it receives, and serves the key set of the tokens."""

    def __init__(self, keys):
        events, refuses, changed = [], set(), threading.Condition()
        self.keys, self.events, self.changed = keys.decode(), events, changed
        self.refuses = refuses  # workspaces whose events are invalid

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if event.get("workspace") in refuses:
                    self.answer(b"{}", 400)
                    return
                with changed:
                    events.append((self.path, dict(self.headers), event))
                    changed.notify_all()
                self.answer(b"{}")

            def do_GET(self):
                self.answer(keys)

            def answer(self, body, status=200):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(CERTIFICATE, KEY)
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"

    def received(self, path, kind=None, subject=None):
        """Returns the events of a path, of a type and about a sync."""
        with self.changed:
            return [event for at, _, event in self.events
                    if at == path and kind in (None, event["type"]) and subject in (None, event.get("subject"))]


Answer = collections.namedtuple("Answer", "status headers body")


class Stack:
    """A deployed stack."""

    def __init__(self, emulator, webhook, name, **parameters):
        self.emulator, self.webhook, self.name = emulator, webhook, name
        self.path = f"/{name}"
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}]}
        self.operator = "operator-of-" + name
        role = emulator.client("iam").create_role(RoleName=self.operator, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
        self.parameters = {
            "Architecture": "x86_64" if os.uname().machine == "x86_64" else "arm64",
            "TokenIssuer": "syncplane-local", "TokenAudience": "syncplane", "Deployment": "AllAtOnce", "KeepTable": "false",
            "WebhookUrl": webhook.url + self.path, "WebhookApiKey": emulator.secret, **parameters,
            "OperatorRoleArn": role["Arn"],
        }

    def sibling(self, name, **parameters):
        """Returns a stack of another name with the same other parameters."""
        return Stack(self.emulator, self.webhook, name, **{k: v for k, v in self.parameters.items() if k != "WebhookUrl"} | parameters)

    def sam(self, *arguments):
        return self.emulator.run(os.environ["AWS_BIN"] + "/sam", *arguments)

    def deploy(self, **parameters):
        self.parameters.update(parameters)
        try:
            self.sam("deploy", "--template-file", WORK / "build/template.yaml", "--config-file", os.path.abspath("samconfig.toml"),
                     "--stack-name", self.name, "--parameter-overrides", *(f"{k}={shlex.quote(v)}" for k, v in self.parameters.items()))
        except Failed as err:
            raise Failed(f"{err}\n{self.failures()}") from None
        self.describe()

    def failures(self):
        """Returns why the stack could not be created or changed."""
        pages = self.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=self.name)
        try:
            events = [e for page in pages for e in page["StackEvents"]]
        except ClientError:
            return "the stack was not created"
        return "\n".join(f"{e['LogicalResourceId']} {e['ResourceStatus']}: {e['ResourceStatusReason']}" for e in events if e.get("ResourceStatusReason"))

    def describe(self):
        found = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]
        self.outputs = {o["OutputKey"]: o["OutputValue"] for o in found["Outputs"]}
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=self.name)
        self.resources = {r["LogicalResourceId"]: r["PhysicalResourceId"] for page in pages for r in page["StackResourceSummaries"]}
        self.host = self.resources["Api"] + ".execute-api.localhost"

    def delete(self):
        self.sam("delete", "--stack-name", self.name, "--no-prompts", "--region", REGION)

    def client(self, service):
        return self.emulator.client(service)

    def as_operator(self):
        """Returns a session of the operator's role with the policy for operators of this stack."""
        self.client("iam").attach_role_policy(RoleName=self.operator, PolicyArn=self.outputs["OperatorPolicyArn"])
        return self.client("sts").assume_role(RoleArn=self.parameters["OperatorRoleArn"], RoleSessionName="operator")["Credentials"]

    def operate(self, *arguments):
        """Runs the command as an operator of this stack, and returns its output."""
        session = self.as_operator()
        return self.emulator.run(COMMAND, arguments[0], "--stack", self.name, *arguments[1:], AWS_ACCESS_KEY_ID=session["AccessKeyId"],
                                 AWS_SECRET_ACCESS_KEY=session["SecretAccessKey"], AWS_SESSION_TOKEN=session["SessionToken"])

    # Requests

    def token(self, workspace="demo", scope=""):
        return self.emulator.run(COMMAND, "token", DATA_DIR=str(WORK / "keys"), WORKSPACE=workspace, SCOPE=scope).strip()

    def send(self, method, path, body=None, token=None, headers=None):
        """Sends a request to the API, as its URL is known to DNS on AWS."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.emulator.port, timeout=30, context=ssl.create_default_context(cafile=CERTIFICATE))
        fields = {"Host": self.host, **(headers or {})}
        if token:
            fields["Authorization"] = "Bearer " + token
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            fields.setdefault("Content-Type", "application/json")
        connection.request(method, path, data, fields)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return Answer(response.status, response.headers, json.loads(text) if text else None)

    # Events

    def publish(self, detail_type, detail, account="test"):
        """Puts an event on the bus, as the root user of an account. Returns its ID, or fails with ClientError."""
        entries = [{"EventBusName": self.outputs["EventBusArn"], "Source": "crm", "DetailType": detail_type, "Detail": json.dumps(detail)}]
        return self.emulator.client("events", account).put_events(Entries=entries)["Entries"][0]["EventId"]

    def event(self, kind, subject=None, where=lambda event: True, timeout=15):
        """Waits for an event at the webhook."""
        def first():
            return next((e for e in self.webhook.received(self.path, kind + ".v1", subject) if where(e)), None)
        return eventually(f"{kind} of {subject}", first, timeout)

    # Schedules

    def schedule(self, sync_id):
        """Returns the schedule of a sync, None if there is none."""
        schedules = self.client("scheduler")
        try:
            return schedules.get_schedule(Name="sync-" + sync_id, GroupName=self.outputs["ScheduleGroupName"])
        except schedules.exceptions.ResourceNotFoundException:
            return None
