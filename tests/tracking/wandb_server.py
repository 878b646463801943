"""A small W&B server on 127.0.0.1 that can be at fault: `wandb_server.py FOLDER FAULT [AFTER]`.

It answers the requests of one wandb version that a run, its resuming, its images and its tables
make.  After AFTER requests (default 0) it has the FAULT: `none`, `hang` (never answers), `close`
(closes the connection), or an HTTP status such as 401 or 500.  It prints its address first.  FOLDER
gets `runs.json` with what the server knows: run id -> history (rows), summary, exit code, settings.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Run = dict[str, Any]


class Server(ThreadingHTTPServer):
    """The server with its runs."""

    daemon_threads = True

    def __init__(self, folder: Path, fault: str, after: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.fault, self.left = folder, fault, after
        self.runs: dict[str, Run] = {}
        self.lock = threading.Lock()
        sys.stdout.write(f"http://127.0.0.1:{self.server_port}\n")
        sys.stdout.flush()

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no fault of the server."""

    def fault_now(self) -> str:
        with self.lock:
            self.left -= 1
            return self.fault if self.left < 0 else "none"

    def answer(self, path: str, body: bytes) -> Any:
        """The JSON answer; what changed is on disk first."""
        if path == "/graphql":
            asked = json.loads(body)
            answer: Any = {"data": self._graphql(asked["operationName"], asked["variables"])}
        elif path.endswith("/file_stream"):
            answer = self._stream(path.split("/")[-2], json.loads(body))
        else:
            answer = {}
        text = json.dumps(self.runs)
        (self.folder / "new").write_text(text)
        (self.folder / "new").rename(self.folder / "runs.json")
        return answer

    def _graphql(self, name: str, variables: dict[str, Any]) -> Any:
        entity = {"id": "e", "name": "team"}
        project = {"id": "p", "name": variables.get("project"), "entity": entity}
        if name == "RunResumeStatus":
            return {"model": {**project, "bucket": self._resumed(variables["name"])}}
        if name == "UpsertBucket":
            run = self._run(variables["name"])
            run["tags"] = variables.get("tags") or run.get("tags")
            for key in ("config", "groupName", "project", "entity", "displayName", "host"):
                run[key] = variables.get(key) or run.get(key)
            bucket = {"id": variables["name"], "name": variables["name"], "project": project}
            bucket |= {"displayName": run["displayName"], "sweepName": "", "historyLineCount": 0}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if name == "CreateRunFiles":
            url = f"http://127.0.0.1:{self.server_port}/upload"
            files = [{"name": each, "uploadUrl": f"{url}/{each}"} for each in variables["files"]]
            created = {"runID": variables["run"], "uploadHeaders": [], "files": files}
            return {"createRunFiles": created}
        return {}

    def _run(self, name: str) -> Run:
        return self.runs.setdefault(name, {"history": [], "summary": {}, "opened": 0, "code": None})

    def _resumed(self, name: str) -> Any:
        run = self.runs.get(name)
        if run is None:
            return None
        tail = [json.dumps(row) for row in run["history"][-1:]]
        return {
            **{"id": name, "name": name, "displayName": run["displayName"], "notes": ""},
            **{"config": run["config"], "tags": run["tags"], "wandbConfig": '{"t": 1}'},
            **{"logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]"},
            "historyLineCount": len(run["history"]),
            "historyTail": json.dumps(tail),
            "summaryMetrics": json.dumps(run["summary"]),
        }

    def _stream(self, name: str, sent: dict[str, Any]) -> Any:
        run = self._run(name)
        files = sent.get("files") or {}
        if history := files.get("wandb-history.jsonl"):
            rows = [json.loads(line) for line in history["content"]]
            run["history"][history["offset"] :] = rows
        if summary := files.get("wandb-summary.json"):
            run["summary"] = json.loads(summary["content"][-1])
        if sent.get("complete"):
            run["code"] = sent.get("exitcode")
        return {}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.server.fault_now()
        if fault == "hang":
            time.sleep(3600)
        if fault == "close":
            self.close_connection = True
            return
        with self.server.lock:
            known = self.server.answer(self.path, body) if fault == "none" else {}
        errors = {"errors": [{"message": "refused"}]}
        answer = json.dumps(known if fault == "none" else errors).encode()
        self.send_response(200 if fault == "none" else int(fault))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST  # noqa: N815


if __name__ == "__main__":
    place, how, *rest = sys.argv[1:]
    Server(Path(place), how, int(rest[0]) if rest else 0).serve_forever()
