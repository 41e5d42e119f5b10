//! Generated configs: mostly sound, with some flaws.
//!
//! The table is written from the specification and apart from the one in `src`, so that a slip there is seen here.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Fields of each part: name, kind, and the minor version of the first spec that has it. `*` marks what only Butane
/// has. A kind is a pool of values, a part, or a list of either in brackets.
const PARTS: &[(&str, &str)] = &[
    ("config", "ignition:ignition kernelArguments:kargs:3 passwd:passwd storage:storage systemd:systemd"),
    ("ignition", "config:references proxy:proxy:1 security:security timeouts:timeouts"),
    ("references", "merge:[remote] replace:remote"),
    ("remote", "source:url! compression:compression:1 httpHeaders:[header]:1 verification:verification"),
    ("proxy", "httpProxy:proxyurl httpsProxy:proxyurl noProxy:[word]"),
    ("security", "tls:tls"),
    ("tls", "certificateAuthorities:[remote]"),
    ("timeouts", "httpResponseHeaders:int httpTotal:int"),
    ("kargs", "shouldExist:[karg] shouldNotExist:[karg]"),
    ("passwd", "groups:[group] users:[user]"),
    ("group", "gid:int name:word! passwordHash:word shouldExist:bool:2 system:bool"),
    (
        "user",
        "gecos:text groups:[word] homeDir:path name:word! noCreateHome:bool noLogInit:bool noUserGroup:bool \
         passwordHash:word primaryGroup:word sshAuthorizedKeys:[word] sshAuthorizedKeysLocal:[local]:4* shell:path \
         shouldExist:bool:2 system:bool uid:int",
    ),
    (
        "storage",
        "directories:[directory] disks:[disk] files:[file] filesystems:[filesystem] links:[link] luks:[luks]:2 \
         raid:[raid] trees:[tree]*",
    ),
    ("owner", "id:int name:word"),
    ("directory", "group:owner overwrite:bool path:path! user:owner mode:mode"),
    (
        "file",
        "group:owner overwrite:bool path:path! user:owner append:[resource] contents:resource mode:mode",
    ),
    ("link", "group:owner overwrite:bool path:path! user:owner hard:bool target:path!"),
    ("tree", "local:treedir! path:path"),
    (
        "resource",
        "compression:compression httpHeaders:[header]:1 source:url verification:verification inline:text* local:local*",
    ),
    ("header", "name:word! value:text"),
    ("verification", "hash:hash"),
    ("disk", "device:device! partitions:[partition] wipeTable:bool"),
    (
        "partition",
        "guid:guid label:label number:number! resize:bool:2 shouldExist:bool sizeMiB:size startMiB:size typeGuid:guid \
         wipePartitionEntry:bool",
    ),
    (
        "filesystem",
        "device:device! format:format! label:label mountOptions:[word]:1 options:[word] path:path uuid:word \
         wipeFilesystem:bool withMountUnit:bool*",
    ),
    ("raid", "devices:[device]! level:level! name:word! options:[word] spares:number"),
    (
        "luks",
        "cex:cex:5 clevis:clevis device:device! discard:bool:4 keyFile:resource label:label name:word! \
         openOptions:[word]:4 options:[word] uuid:word wipeVolume:bool",
    ),
    ("cex", "enabled:bool"),
    ("clevis", "custom:custom tang:[tang] threshold:number tpm2:bool"),
    ("custom", "config:text! needsNetwork:bool pin:pin!"),
    ("tang", "advertisement:advert:4 thumbprint:word! url:proxyurl!"),
    ("systemd", "units:[unit]"),
    (
        "unit",
        "contents:unitfile contentsLocal:local:4* dropins:[dropin] enabled:bool mask:bool name:unitname!",
    ),
    ("dropin", "contents:unitfile contentsLocal:local:4* name:confname!"),
];

/// Sound values of a pool, and flawed ones. What starts with `!` is written into YAML as it stands, without quotes.
fn pool(kind: &str) -> Option<(Vec<Value>, Vec<Value>)> {
    let hash = |function: &str, digits: usize| format!("{function}-{}", "0".repeat(digits));
    let (good, bad): (Value, Value) = match kind {
        "bool" => (json!([true, false]), json!([1, "true", "!yes", "!off", "maybe"])),
        "int" => (json!([0, 1, 500, 65534]), json!([-1, "1", 1.5, "!0x10", "!1e2"])),
        "size" => (json!([0, 1, 2, 100, 101, 102, 4096]), json!([-5])),
        "number" => (json!([1, 2, 3, 4, 0]), json!([-1])),
        "mode" => (
            json!([420, 493, 384, 0, 511, 4095, 1023, 644, 755, 600, "!0644", "!0o755", "!0755"]),
            json!([-1, 4096, 99999, "!0888", "!rw", "0644"]),
        ),
        "word" => (
            json!(["a", "b", "c", "d", "x y", "ä", "!7", "!true", "!1.50", "!2031-05-06"]),
            json!(["", "<&>", "<&>\u{2028}", "a/b", "line\nbreak"]),
        ),
        "karg" => (json!(["quiet", "debug", "console=ttyS0", "console=ttyS1"]), json!(["", "quiet"])),
        "text" => (
            json!([
                "hello",
                "two words",
                "a\nb\n",
                "",
                "ümläut",
                "<html>&amp;</html>",
                "x".repeat(300),
                "{\"a\": 1}"
            ]),
            json!(["\u{1}", "\u{7f}", "tab\there"]),
        ),
        "path" => (
            json!(["/a", "/a/b", "/a/b/c", "/b", "/c/d", "/etc/x", "/e f", "/ü", "/var/lib/data"]),
            json!([
                "",
                "a",
                "/a/",
                "/a//b",
                "/a/./b",
                "/..",
                "/",
                "/etc/systemd/system/a.service",
                "/etc/systemd/system/a.service.d/10.conf"
            ]),
        ),
        "device" => (
            json!(["/dev/sda", "/dev/sdb", "/dev/disk/by-label/x", "/dev/mapper/a", "/dev/md/b"]),
            json!(["", "sda", "/dev//sda"]),
        ),
        "format" => (json!(["ext4", "btrfs", "xfs", "swap", "vfat", "none"]), json!(["", "ntfs", "EXT4"])),
        "label" => (
            json!(["a", "b", "root", "data", "ä"]),
            json!(["", "0123456789abc", "x".repeat(40), "a:b", "x".repeat(50)]),
        ),
        "level" => (json!(["raid0", "raid1", "linear", "10", "stripe"]), json!(["", "raid7", "RAID1"])),
        "guid" => (
            json!(["", "01234567-89AB-CDEF-EDCB-A98765432101", "01234567-89ab-cdef-edcb-a98765432101"]),
            json!(["x", "01234567-89AB-CDEF-EDCB-A9876543210", "01234567-89AB-CDEF-EDCB-A9876543210g"]),
        ),
        "compression" => (json!(["", "gzip"]), json!(["xz", "GZIP"])),
        "hash" => (
            json!([hash("sha512", 128), hash("sha256", 64)]),
            json!([hash("sha512", 127), hash("md5", 32), "sha512", "", hash("SHA512", 128)]),
        ),
        "url" => (
            json!([
                "http://h.invalid/a",
                "https://h.invalid:8443/a?b=c#d",
                "data:,x",
                "data:;base64,eA==",
                "tftp://h/x",
                "s3://b/k",
                "s3://b/k?versionId=1",
                "gs://b/k",
                "arn:aws:s3:::b/k",
                "HTTPS://h.invalid/",
                "data:text/plain;charset=utf-8,a%20b",
                "http://u:p@[fe80::1%25en0]:80/",
                ""
            ]),
            json!([
                "ftp://h/x",
                "file:///x",
                "/x",
                "http://h:x/",
                "http://h/%zz",
                "http://[::1",
                "data:,a b",
                "data:x,y",
                "data:;base64,e",
                "s3://b/k?versionId=",
                "arn:aws:s3:::b",
                "arn:aws:ec2:::b/k",
                "oem:///x",
                "http://a b/",
                "DATA:,x",
                "data:,ä",
                ":x",
                "http://h\u{7f}/",
                "http://a:1:2/",
                "http://%41/",
                "data:font/x,y",
                "data:text/plain;a=\"q\\\"b\",x",
                "data:text/plain;a=b;base64,eA=",
                "http://h/#%z"
            ]),
        ),
        "proxyurl" => (
            json!(["http://p.invalid:3128", "https://p.invalid"]),
            json!(["", "p.invalid", "socks5://p", "http://%zz", "1:2"]),
        ),
        "pin" => (json!(["tpm2", "tang", "sss"]), json!(["", "yubikey"])),
        "advert" => (json!(["", "{\"keys\":[]}", "[1, 2.5e3, null]"]), json!(["{", "01", "{} x"])),
        "unitname" => (
            json!(["a.service", "b.service", "t@.service", "t@x.service", "m.mount", "s.socket", "c.timer"]),
            json!(["", "a", "a.conf", "a.service.d", "@x.service", ".service"]),
        ),
        "confname" => (json!(["10.conf", "20.conf", "a.conf"]), json!(["", "10.txt", "conf"])),
        "unitfile" => (
            json!([
                "",
                "[Unit]\nDescription=x\n",
                "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
                "# c\n[Service]\nExecStart=a \\\n  b\n",
                "[Install]\n",
                "loose\n[Unit]\n;c\nA=b"
            ]),
            json!([
                "[Unit",
                "[Unit] x\nA=b\n",
                "[Unit]\nnonsense\n",
                "[Unit]\nA",
                format!("[Unit]\nA={}\n", "x".repeat(2100)),
                format!("[Unit]\nA={}\n", "x".repeat(2045)),
                "[Unit]\n#c \\\nnonsense\nA=b\n",
                "no section"
            ]),
        ),
        "local" => (
            json!(["small", "big", "binary", "keys", "unit", "dir/nested", "/small", "dir/../small"]),
            json!(["", "missing", "dir", "../outside", "/../x", "small/x"]),
        ),
        "treedir" => (json!(["dir", "tree", "dir/sub"]), json!(["", "missing", "small", "../x"])),
        _ => return None,
    };
    let list = |value: Value| value.as_array().unwrap().clone();
    Some((list(good), list(bad)))
}

/// Which configs to generate.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// The minor version of the spec.
    pub minor: u32,
    /// Whether to write Butane's fields and names.
    pub butane: bool,
    /// How many of a hundred values are flawed.
    pub flawed: u32,
}

/// A strategy for a whole config, without its version.
pub(super) fn config(shape: Shape) -> BoxedStrategy<Value> {
    kind("config", shape)
}

fn kind(name: &str, shape: Shape) -> BoxedStrategy<Value> {
    if let Some(item) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        let item = kind(item, shape);
        return prop::collection::vec(item, 0..4).prop_map(Value::Array).boxed();
    }
    if let Some((good, bad)) = pool(name) {
        // What is written without quotes is for YAML; a line separator is not, because libyaml counts it as a line end.
        let written = move |value: &Value| match value.as_str() {
            Some(text) if shape.butane => !text.contains('\u{2028}'),
            Some(text) => !text.starts_with('!'),
            None => true,
        };
        let good: Vec<Value> = good.into_iter().filter(written).collect();
        let bad: Vec<Value> = bad.into_iter().filter(written).collect();
        let good = prop::sample::select(good).boxed();
        return match shape.flawed {
            0 => good,
            flawed => prop_oneof![100 - flawed => good, flawed => prop::sample::select(bad)].boxed(),
        };
    }
    let (_, fields) =
        PARTS.iter().find(|(part, _)| *part == name).unwrap_or_else(|| panic!("no kind {name}"));
    let fields: Vec<BoxedStrategy<Option<(String, Value)>>> =
        fields.split_whitespace().filter_map(|field| member(field, shape)).collect();
    fields.prop_map(|members| Value::Object(members.into_iter().flatten().collect::<Map<_, _>>())).boxed()
}

/// `name:kind[:minor]`, with `!` for a field that is nearly always there and `*` for one of Butane.
fn member(field: &str, shape: Shape) -> Option<BoxedStrategy<Option<(String, Value)>>> {
    let (field, butane) = field.strip_suffix('*').map_or((field, false), |field| (field, true));
    let mut words = field.split(':');
    let (name, what) = (words.next().unwrap(), words.next().unwrap());
    let since: u32 = words.next().map_or(0, |minor| minor.trim_end_matches('*').parse().unwrap());
    let (what, needed) = what.strip_suffix('!').map_or((what, false), |what| (what, true));
    // A field that the spec does not have yet is a flaw too, if a harmless one.
    if butane && !shape.butane || since > shape.minor && shape.flawed == 0 {
        return None;
    }
    let often = match (needed, since > shape.minor) {
        (_, true) => 0.02,
        (true, _) => 0.99 - f64::from(shape.flawed) / 400.0,
        // Parts more often than values, or what is deep inside would hardly ever be there.
        (false, _) if pool(what.trim_matches(['[', ']'])).is_none() => 0.5,
        (false, _) => 0.25,
    };
    let name = if shape.butane { snake_case(name) } else { name.to_owned() };
    let value = kind(what, shape);
    Some(prop::option::weighted(often, value).prop_map(move |value| Some((name.clone(), value?))).boxed())
}

fn snake_case(name: &str) -> String {
    let name = name.replace("MiB", "Mib");
    let bar = |c: char| if c.is_uppercase() { format!("_{}", c.to_lowercase()) } else { c.to_string() };
    name.chars().map(bar).collect()
}

/// Writes a config as YAML: blocks or, below a level, flow style.
pub(super) fn yaml(config: &Value, flow_below: usize) -> String {
    let mut out = String::new();
    block(config, 0, flow_below, &mut out);
    out
}

fn block(value: &Value, level: usize, flow_below: usize, out: &mut String) {
    let pad = "  ".repeat(level);
    match value {
        Value::Object(members) if !members.is_empty() && level < flow_below => {
            for (key, value) in members {
                out.push_str(&format!("{pad}{key}:"));
                rest(value, level, flow_below, out);
            }
        }
        Value::Array(items) if !items.is_empty() && level < flow_below => {
            for item in items {
                out.push_str(&format!("{pad}-"));
                rest(item, level, flow_below, out);
            }
        }
        value => out.push_str(&format!("{pad}{}\n", flow(value))),
    }
}

fn rest(value: &Value, level: usize, flow_below: usize, out: &mut String) {
    let nested = match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    match nested && level + 1 < flow_below {
        true => {
            out.push('\n');
            block(value, level + 1, flow_below, out);
        }
        false => out.push_str(&format!(" {}\n", flow(value))),
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().map(|(key, value)| format!("{key}: {}", flow(value))).collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text) => match text.strip_prefix('!') {
            Some(plain) => plain.to_owned(),
            None => value.to_string(),
        },
        value => value.to_string(),
    }
}
