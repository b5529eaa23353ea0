"""Claims, extends and reports runs, and verifies webhooks. It needs only Python.

Copy this file to your worker. API is the address of the server, TOKEN a token or an API
key, WEBHOOK_SECRET that of the server, HEARTBEAT the seconds between heartbeats.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

TIMEOUT = 10  # seconds, of a request
LEASE = 300 - TIMEOUT  # the default lease; a heartbeat extends it
TOLERANCE = 300  # how far the time of a delivery may be from that of this machine

_executor = f"{socket.gethostname()}-{os.getpid()}"
_started = set()  # the attempts that this worker has started
_lock = threading.Lock()


class Run:
    """A claimed run. claim is the response to the claim, in which sync is the sync."""

    def __init__(self, path, workspace, claim):
        self.path, self.workspace, self.claim = path, workspace, claim
        self.fence, self._end = claim["attributes"]["fence"], time.monotonic() + LEASE

    def execute(self, command):
        """Runs a command with the claim on its standard input, and reports its end. The command
        is stopped when the run is to be canceled and when the lease is lost."""
        program = subprocess.Popen(command, stdin=subprocess.PIPE)
        text, canceled = json.dumps(self.claim).encode(), False
        while True:
            try:
                program.communicate(text, float(os.environ.get("HEARTBEAT") or 60))
                break
            except subprocess.TimeoutExpired:
                text = None  # which communicate has taken
                if not self.heartbeat():
                    canceled = True
                    program.terminate()
        self.finish("canceled" if canceled else "failed" if program.returncode else "success")

    def heartbeat(self, **body):
        """Extends the lease. Returns whether the work may continue."""
        try:
            status, run = _post(self.path + "/heartbeat", self.workspace, fence=self.fence, **body)
        except OSError:
            status, run = 503, {}
        if status == 200 and not run["attributes"].get("cancel_requested_at"):
            self._end = time.monotonic() + LEASE
            return True
        return status not in (200, 404, 409) and time.monotonic() < self._end

    def finish(self, status, **body):
        """Reports the end, for up to half a minute. After a 409 the report has no effect."""
        for pause in 0.5, 1, 2, 4, 8, 16, 0:
            try:
                answered, _ = _post(self.path + "/finish", self.workspace, fence=self.fence, status=status, **body)
            except OSError as err:
                answered = err
            if isinstance(answered, int) and answered < 500 and answered != 429:
                break
            time.sleep(pause)
        print(f"{self.claim['id']}: the report {status} was answered with {answered}", file=sys.stderr)
        if answered not in (200, 404, 409):
            raise RuntimeError(f"finish: {answered}")


def claim(run_id, workspace=None, executor=_executor, **body):
    """Claims a run by its ID. Returns None if another executor has it, or it has ended.

    A token with the scope runs:execute:all needs the workspace of the run."""
    path = "/api/v1/syncs/" + run_id.replace("/", "/sync_runs/")
    status, answer = _post(path + "/claim", workspace, executor=executor, **body)
    if status in (404, 409):
        return None
    if status != 200:
        raise RuntimeError(f"claim: {status}")
    return Run(path, workspace, answer)


def claim_delivered(request):
    """Verifies a delivery and claims its run. Returns the run, None if there is nothing to
    do, and the status of the response."""
    body = request.rfile.read(int(request.headers["Content-Length"] or 0))
    if not verify(request.headers, body):
        print("a delivery without a valid signature is refused", file=sys.stderr)
        return None, 401
    if request.headers["Ce-Type"] != "sync.run.queued.v1":
        return None, 204
    try:
        run = claim(json.loads(body)["id"])
    except (OSError, RuntimeError) as err:
        print(err, file=sys.stderr)
        return None, 503
    with _lock:
        if run is None or (run.path, run.fence) in _started:  # a repeated delivery
            return None, 204
        _started.add((run.path, run.fence))
    return run, 204


def verify(headers, body):
    """Reports whether a delivery has a signature of Standard Webhooks with one of the secrets."""
    sent, signatures = headers["Webhook-Timestamp"] or "", (headers["Webhook-Signature"] or "").split()
    if not sent.isdecimal() or abs(time.time() - int(sent)) > TOLERANCE:
        return False
    signed = f"{headers['Webhook-Id']}.{sent}.".encode() + body
    for secret in os.environ["WEBHOOK_SECRET"].split():
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        want = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        if any(hmac.compare_digest(want.encode(), s.encode()) for s in signatures):
            return True
    return False


def serve(handler):
    """Handles the webhooks that arrive at PORT of this machine."""
    if not os.environ.get("WEBHOOK_SECRET"):
        sys.exit("WEBHOOK_SECRET must be that of the server")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), handler)
    print(f"The worker receives webhooks at http://127.0.0.1:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(130)


def _post(path, workspace, **body):
    """Sends one of the requests of an executor. Returns the status and the document."""
    headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "application/json"}
    if workspace:
        headers["Syncplane-Workspace"] = workspace
    request = urllib.request.Request(os.environ["API"] + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as err:
        with err:
            return err.code, {}
