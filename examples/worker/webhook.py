"""Claims each run that a webhook delivers. The program COPY gets it on its standard
input: the answer to the claim, with the sync. It has 55 minutes of the hour's lease."""
import http.client, http.server, json, os, socket, subprocess

started, executor = {}, f"{socket.gethostname()}-{os.getpid()}"

def post(path, **body):
    server = http.client.HTTPConnection(os.environ["API_HOST"], timeout=10)
    server.request("POST", path, json.dumps(body), {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "application/json"})
    return (answer := server.getresponse()).status, json.load(answer)

class Worker(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        run = "/api/v1/syncs/" + json.loads(self.rfile.read(int(self.headers["Content-Length"]))).get("id", "").replace("/", "/sync_runs/")
        status, claim = post(run + "/claim", executor=executor, lease_seconds=3600) if "queued" in self.headers["Ce-Type"] else (404, {})
        self.send_response(204 if status in (200, 404, 409) else 503)  # 503: deliver it again
        self.end_headers()
        if status == 200 and started.setdefault((run, claim["attributes"]["fence"]), self) is self:  # not a repeated delivery
            copy = subprocess.run(["timeout", "3300", "sh", "-c", os.environ["COPY"]], input=json.dumps(claim).encode())
            post(run + "/finish", fence=claim["attributes"]["fence"], status="failed" if copy.returncode else "success")

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Worker).serve_forever()
