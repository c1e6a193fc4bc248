"""The client's methods about the versions that jobs are on."""

from urllib.parse import quote

from agora.client.wire import Json, Wire


class MoveMethods(Wire):
    """Move jobs to other versions of their actions."""

    def move(self, job_id: str, version: int) -> Json:
        """Let an open job go on at another version, from the step where it stands."""
        return self._json("POST", f"/jobs/{quote(job_id, safe='')}/move", {"version": version})

    def move_all(self, agent: str, action: str, *, before: int, version: int) -> Json:
        """Move the open jobs of one version to another: how many ``moved``, and which were ``refused``, and why."""
        moved: Json = {"moved": 0, "refused": []}
        while True:
            body = {"action": action, "before": before, "version": version}
            page = self._json("POST", f"/agents/{quote(agent, safe='')}/move", body)
            moved = {"moved": moved["moved"] + page["moved"], "refused": page["refused"]}
            if not page["more"] or not page["moved"]:
                return moved
