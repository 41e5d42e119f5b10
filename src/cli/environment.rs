//! The variables of the environment: one table, from which the page in `docs/guides`, the manual page and the warning about a
//! misspelt name are made.
//!
//! Owns the names and their words. Leaves reading them to the roofs that use them; a test holds the sources against this table.

use std::fmt::Write;

use clap::{Command, CommandFactory};

use super::Cli;
use super::reference::roff::Page;
use crate::base::finding::nearest;

/// A variable.
#[derive(Debug)]
pub struct Variable {
    /// Its spelling, such as `PREBAKE_STORE`.
    pub name: &'static str,
    /// The variables that it is told with.
    pub group: Group,
    /// The verbs that read it.
    pub verbs: Verbs,
    /// The value that counts where it is not set, in words.
    pub absent: &'static str,
    /// Its meaning, in Markdown on one line.
    pub words: &'static str,
}

/// Variables that are told together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Of prebake itself.
    Own,
    /// Of Matchbox, as `prebake serve` reads them.
    Matchbox,
    /// Of the system and of other programs.
    System,
    /// Of the scripts in shipped sysexts, on machines.
    Machine,
    /// Of this repository's tests and of its packaging.
    Repository,
}

/// The verbs that read a variable.
#[derive(Clone, Copy, Debug)]
pub enum Verbs {
    /// Those that have an option for it.
    Option,
    /// These.
    Named(&'static [&'static str]),
    /// Every verb, or none of prebake's; in words.
    Words(&'static str),
}

/// Verbs that fetch.
const FETCHING: Verbs =
    Verbs::Named(&["build", "fetch", "key update", "lock", "mirror", "release show", "sysext build"]);

/// Verbs that ask Proxmox VE.
const OF_PROXMOX: Verbs = Verbs::Named(&["proxmox macs", "proxmox upload"]);

const fn own(name: &'static str, verbs: Verbs, absent: &'static str, words: &'static str) -> Variable {
    Variable { name, group: Group::Own, verbs, absent, words }
}

const fn matchbox(name: &'static str, absent: &'static str, words: &'static str) -> Variable {
    Variable { name, group: Group::Matchbox, verbs: Verbs::Named(&["serve"]), absent, words }
}

const fn system(name: &'static str, verbs: Verbs, absent: &'static str, words: &'static str) -> Variable {
    Variable { name, group: Group::System, verbs, absent, words }
}

const fn machine(name: &'static str, absent: &'static str, words: &'static str) -> Variable {
    Variable { name, group: Group::Machine, verbs: Verbs::Words("none"), absent, words }
}

const fn repository(name: &'static str, absent: &'static str, words: &'static str) -> Variable {
    Variable { name, group: Group::Repository, verbs: Verbs::Words("none"), absent, words }
}

/// Every variable, in the order in which people read about them.
pub const VARIABLES: &[Variable] = &[
    own(
        "PREBAKE_STORE",
        Verbs::Option,
        "`$XDG_CACHE_HOME/prebake/store`, else `~/.cache/prebake/store`",
        "Directory of verified inputs and finished steps, as `--store`.",
    ),
    own(
        "PREBAKE_SERVER",
        Verbs::Option,
        "`http://127.0.0.1:8080`",
        "URL of a running `prebake serve`, as `--server`.",
    ),
    own("PREBAKE_OUTPUT", Verbs::Option, "`output`", "Directory of published trees, as `--output`."),
    own(
        "PREBAKE_SIGN_KEY",
        Verbs::Option,
        "nothing is signed",
        "Secret key that signs: the name of its file, or its text, for CI secrets. As `--sign-key`.",
    ),
    own(
        "PREBAKE_SIGN_PASSPHRASE",
        Verbs::Words("those with `--sign-key`"),
        "it is asked on the terminal",
        "Passphrase of the secret key.",
    ),
    own(
        "PREBAKE_TRUST",
        Verbs::Option,
        "signatures are not judged where none is demanded",
        "Public keys that are believed, separated by commas: files, or their lines of base64. As `--trust`.",
    ),
    own(
        "PREBAKE_MIRROR_FLATCAR",
        FETCHING,
        "the recipe's `mirrors`, else Flatcar's servers",
        concat!(
            "Base URLs for releases of Flatcar and for its key, separated by commas or blanks; `http:`, `https:` or `file:`. ",
            "A mirror has `CHANNEL/BOARD/VERSION/FILE` and `security/image-signing-key/Flatcar_Image_Signing_Key.asc`.",
        ),
    ),
    own(
        "PREBAKE_MIRROR_KUBERNETES",
        FETCHING,
        "the recipe's `mirrors`, else dl.k8s.io",
        "Base URLs for programs of Kubernetes. A mirror has `VERSION/bin/linux/ARCH/FILE`, each with its `.sha256`.",
    ),
    own(
        "PREBAKE_MIRROR_GITHUB",
        FETCHING,
        "the recipe's `mirrors`, else github.com",
        "Base URLs for GitHub. A mirror has `OWNER/REPO/releases/download/TAG/FILE`, `USER.keys`, and `OWNER/REPO/raw/TAG/PATH` for \
         files of Kubernetes' repositories.",
    ),
    own(
        "PREBAKE_MIRROR_OCI",
        FETCHING,
        "the recipe's `mirrors`, else the registry that an image names",
        "Registries for container images, or parts of one (`http://HOST/PREFIX`).",
    ),
    own(
        "PREBAKE_MIRROR_WEB",
        FETCHING,
        "the recipe's `mirrors`, else the host itself",
        "Base URLs for everything else. A mirror has `HOST/PATH`.",
    ),
    matchbox("MATCHBOX_ADDRESS", "`127.0.0.1:8080`", "Address to listen on, as `--address`."),
    matchbox("MATCHBOX_DATA_PATH", "a tree is served", "The data directory, as `--data-path`."),
    matchbox("MATCHBOX_ASSETS_PATH", "that of the data directory", "Directory of files, as `--assets-path`."),
    matchbox(
        "MATCHBOX_KEY_RING_PATH",
        "nothing is signed",
        "OpenPGP key that signs answers, as `--key-ring-path`.",
    ),
    matchbox("MATCHBOX_PASSPHRASE", "the key has none", "Passphrase of that key."),
    matchbox("MATCHBOX_LOG_LEVEL", "`info`", "Level of the log, as `--log-level`."),
    matchbox("MATCHBOX_RPC_ADDRESS", "no gRPC", "Address of the gRPC API, as `--rpc-address`."),
    matchbox(
        "MATCHBOX_CERT_FILE",
        "`/etc/matchbox/server.crt`",
        "The server's certificate for gRPC, as `--cert-file`.",
    ),
    matchbox("MATCHBOX_KEY_FILE", "`/etc/matchbox/server.key`", "Its key, as `--key-file`."),
    matchbox("MATCHBOX_CA_FILE", "`/etc/matchbox/ca.crt`", "The authorities of its clients, as `--ca-file`."),
    matchbox("MATCHBOX_WEB_SSL", "plain HTTP", "HTTPS in place of HTTP, as `--tls-only`."),
    matchbox("MATCHBOX_WEB_CERT_FILE", "no certificate", "The certificate for HTTPS, as `--tls-cert`."),
    matchbox("MATCHBOX_WEB_KEY_FILE", "no key", "Its key, as `--tls-key`."),
    system(
        "SOURCE_DATE_EPOCH",
        Verbs::Words(
            "`build`, `plan`, `sysext build`; `key sign`, `initrd inject` and `disk inject` as an option",
        ),
        "the time of the newest signature among the inputs",
        "Time of files in artifacts, in seconds since 1970 (reproducible-builds.org).",
    ),
    system(
        "PROXMOX_URL",
        Verbs::Option,
        "the file of `--credentials` has it",
        "URL of Proxmox VE's API, as CAPMOX names it for clusterctl and as `--url`.",
    ),
    system(
        "PROXMOX_TOKEN",
        OF_PROXMOX,
        "the file of `--credentials` has it",
        "Name of the API token, `USER@REALM!NAME`.",
    ),
    system(
        "PROXMOX_SECRET",
        OF_PROXMOX,
        "the file of `--credentials` has it",
        "Secret of that token, a UUID.",
    ),
    system(
        "HTTP_PROXY",
        FETCHING,
        "`ALL_PROXY`, else none",
        "Proxy for `http:` URLs; `http_proxy` is read after it, and neither where `REQUEST_METHOD` is set (CGI).",
    ),
    system(
        "HTTPS_PROXY",
        FETCHING,
        "`ALL_PROXY`, else none",
        "Proxy for `https:` URLs; `https_proxy` is read after it.",
    ),
    system("ALL_PROXY", FETCHING, "none", "Proxy where no other is set; `all_proxy` is read after it."),
    system(
        "NO_PROXY",
        FETCHING,
        "no exceptions",
        "Hosts, domains, addresses and networks without a proxy ([mirrors](mirrors.md#proxies)); `no_proxy` is read after it.",
    ),
    system(
        "REQUEST_METHOD",
        FETCHING,
        "proxies are read",
        "Where it is set, as in a CGI program, no proxy is read (httpoxy.org).",
    ),
    system(
        "SSL_CERT_FILE",
        Verbs::Words("those that fetch, and `status`, `explain`"),
        "the system's certificates",
        "PEM file of trusted certificates, in place of the system's ([mirrors](mirrors.md#certificates)).",
    ),
    system(
        "SSL_CERT_DIR",
        Verbs::Words("those that fetch, and `status`, `explain`"),
        "the system's certificates",
        "Directory of trusted certificates.",
    ),
    system(
        "REGISTRY_AUTH_FILE",
        FETCHING,
        "the next ones",
        "File with logins for container registries, read before those of docker and podman.",
    ),
    system("DOCKER_CONFIG", FETCHING, "`~/.docker`", "Directory of docker's `config.json` with logins."),
    system(
        "XDG_RUNTIME_DIR",
        FETCHING,
        "`/run/containers/UID`",
        "`containers/auth.json` below it has podman's logins.",
    ),
    #[cfg(feature = "cluster")]
    system(
        "SOPS_AGE_KEY",
        Verbs::Words("`prebake cluster`, `capi run`"),
        "the other places are looked at alone",
        "age identities, a line each, that open an encrypted `cluster.yaml` or `clusterctl.yaml`.",
    ),
    #[cfg(feature = "cluster")]
    system(
        "SOPS_AGE_KEY_FILE",
        Verbs::Words("`prebake cluster`, `capi run`"),
        "`~/.config/sops/age/keys.txt` is looked at alone",
        "File with such identities.",
    ),
    system("XDG_CONFIG_HOME", FETCHING, "`~/.config`", "`containers/auth.json` below it has logins, too."),
    system(
        "XDG_CACHE_HOME",
        Verbs::Words("those with `--store`"),
        "`~/.cache`",
        "Directory of the default store; a relative one is ignored.",
    ),
    system(
        "HOME",
        Verbs::Words("those with `--store`, and those that fetch"),
        "a store must be named, else exit code 2; no logins",
        "Home directory, for the default store and for logins.",
    ),
    system(
        "TMPDIR",
        Verbs::Words("`boot`, `bundle`, `disk`, `initrd`, `sysext lint`, `verify`"),
        "`/tmp`",
        "Directory of temporary files.",
    ),
    system(
        "NO_COLOR",
        Verbs::Words("every verb that prints colours"),
        "colours on terminals",
        "Set and not empty: no colours, unless `--color=always` is given.",
    ),
    system(
        "CLICOLOR_FORCE",
        Verbs::Words("every verb that prints colours"),
        "no colours in files and pipes",
        "With `1`, colours in files and pipes, too.",
    ),
    system(
        "TERM",
        Verbs::Words("every verb that prints colours"),
        "no terminal",
        "`dumb` is a terminal without colours; `linux`, the kernel's console, gets ASCII of `status --watch`.",
    ),
    system(
        "LC_ALL",
        Verbs::Named(&["status"]),
        "`LC_CTYPE`",
        "The locale: where it is UTF-8, `status --watch` draws with more than ASCII.",
    ),
    system("LC_CTYPE", Verbs::Named(&["status"]), "`LANG`", "The same, where `LC_ALL` is not set."),
    system("LANG", Verbs::Named(&["status"]), "ASCII", "The same, where neither is set."),
    system(
        "PATH",
        Verbs::Named(&["boot", "lock"]),
        "nothing is found",
        "Where QEMU is looked for, and git to settle a lock with merge conflicts.",
    ),
    system(
        "LISTEN_FDS",
        Verbs::Named(&["serve"]),
        "sockets are opened",
        "Sockets from systemd, with `LISTEN_PID` and `LISTEN_FDNAMES` (sd_listen_fds(3)).",
    ),
    system(
        "LISTEN_PID",
        Verbs::Named(&["serve"]),
        "sockets are opened",
        "The process that those sockets are for.",
    ),
    system(
        "LISTEN_FDNAMES",
        Verbs::Named(&["serve"]),
        "every socket is for HTTP",
        "Names of those sockets: `http` or `https`.",
    ),
    system(
        "NOTIFY_SOCKET",
        Verbs::Named(&["serve"]),
        "nobody is told",
        "Socket of systemd, which learns when the server is ready (sd_notify(3)).",
    ),
    system(
        "WATCHDOG_USEC",
        Verbs::Named(&["serve"]),
        "no watchdog",
        "Time within which systemd wants to hear of the server.",
    ),
    system("WATCHDOG_PID", Verbs::Named(&["serve"]), "this process", "The process that the watchdog is for."),
    machine("PREBAKE_NET", "`/sys/class/net`", "Directory of the network cards."),
    machine("PREBAKE_CMDLINE", "`/proc/cmdline`", "File with the kernel's arguments."),
    machine("PREBAKE_BONDING", "`/proc/net/bonding`", "Directory of the kernel's bonds."),
    machine("PREBAKE_WAIT", "`3`", "Seconds between two attempts of `report`."),
    machine("PREBAKE_TRIES", "`60`", "Number of attempts of `report` and `install`."),
    machine(
        "PREBAKE_INSTALL_CONF",
        "the file that the overlay brings",
        "File with the settings of `install`.",
    ),
    machine(
        "PREBAKE_UNIT",
        "set by `prebake-failed@`",
        "The unit that failed, whose journal `report` sends.",
    ),
    machine("PREBAKE_FAILED", "`/run/prebake-failed`", "Directory where `report` notes a failure."),
    machine("PREBAKE_INSTALL_WAIT", "`3`", "Seconds between two attempts of `install`."),
    machine("PREBAKE_REPORT", "`/usr/libexec/prebake-report`", "Program by which `install` reports."),
    machine(
        "PREBAKE_COMPLETE",
        "`/run/prebake-images.complete`",
        "File that is there while `prebake-images` has imported all images.",
    ),
    machine("PREBAKE_EFI", "`/sys/firmware/efi`", "Directory that UEFI machines have."),
    machine("PREBAKE_ERROR", "`/run/prebake-kubeadm.error`", "File of kubeadm's last errors."),
    machine(
        "PREBAKE_KUBERNETES",
        "`/etc/kubernetes`",
        "Directory in which a member of a cluster looks for kubeadm's configs.",
    ),
    machine(
        "PREBAKE_LISTS",
        "the directory in its image",
        "Directory of the lists of images that `prebake-images` imports.",
    ),
    machine(
        "PREBAKE_NODE",
        "`/etc/prebake/node.env`",
        "File with what a member of a cluster is told about itself.",
    ),
    machine("PREBAKE_RETRIES", "`120`", "Number of attempts of `prebake-images` for each image."),
    machine("PREBAKE_RETRY_DELAY", "`5`", "Seconds between two of them."),
    repository(
        "PREBAKE_SKIP_JUDGES",
        "every judge is asked",
        "With `1`, tests pass without judges that cannot be had; never in a CI.",
    ),
    repository(
        "PREBAKE_BLESS",
        "files are held against",
        "Tests write the files that they hold: goldens, tables in documents, schemas.",
    ),
    repository(
        "PREBAKE_CACHE",
        "`~/.cache/prebake`",
        "Directory of judges and tools that tests and packaging make.",
    ),
    repository(
        "PREBAKE_LAB_IGNITION",
        "Debian's, 2.14",
        "With `go`, the lab's machines run Ignition 2.24.0.",
    ),
    repository(
        "PREBAKE_PICTURES",
        "none are kept",
        "Directory for pictures of the status page; docs/images/status.png is made again.",
    ),
    repository("PREBAKE_SEED", "a fixed one, or the time", "Seed of generated cases."),
    repository("PREBAKE_CASES", "`2000`", "Number of generated cases."),
    repository("PREBAKE_KILLS", "`50`", "Number of times that a process is killed under way."),
    repository("PREBAKE_FAULTS", "`3`", "Number of faults of the disk that are played."),
    repository("PREBAKE_FLOOD_SECONDS", "`3`", "Seconds of each flood."),
    repository(
        "PREBAKE_FUZZ_SEEDS",
        "set by fuzz/run.sh",
        "Directory into which seeds of a fuzzed parser are written.",
    ),
    repository("PREBAKE_FUZZ_TARGET", "set by fuzz/run.sh", "The parser that is fuzzed."),
    repository("PREBAKE_TEST_FLATCAR_KEY", "that test is skipped", "A file with Flatcar's whole key."),
    repository("PREBAKE_ZIG", "set by the packaging", "The C compiler of static binaries."),
    repository("PREBAKE_ZIG_TARGET", "set by the packaging", "The machine that it compiles for."),
    repository(
        "PREBAKE_COMMIT",
        "`prebake version` tells none",
        "Commit that is compiled into `prebake version`.",
    ),
    repository("PREBAKE_VERB", "every verb", "Beginning of the verbs that are killed and failed."),
];

/// A variable that prebake does not know, though its name says that it is for prebake.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    /// Its spelling in the environment.
    name: String,
    /// The nearest known name.
    near: Option<&'static str>,
}

/// Begins the names of variables that are for prebake, before an underscore.
const PREFIX: &str = "PREBAKE";

/// Variables that Kubernetes sets in every container for a Service called `prebake`.
const OF_A_SERVICE: [&str; 2] = ["PREBAKE_SERVICE_", "PREBAKE_PORT"];

/// Those of an environment, in order.
fn unknown(names: impl IntoIterator<Item = String>) -> Vec<Unknown> {
    let is_known = |name: &str| VARIABLES.iter().any(|variable| variable.name == name);
    let own = VARIABLES.iter().filter(|variable| variable.group == Group::Own).map(|variable| variable.name);
    let judge = |name: String| {
        if is_known(&name) || OF_A_SERVICE.iter().any(|beginning| name.starts_with(beginning)) {
            return None;
        }
        let upper = name.to_ascii_uppercase();
        let (prefix, rest) = upper.split_once('_')?;
        // The prefix is alike in all of them, and would make everything near. Names of others begin otherwise (REMAKE_).
        let is_ours = prefix == PREFIX;
        let is_slip = prefix.starts_with('P') && nearest(prefix, [PREFIX]).is_some();
        let rests = own.clone().filter_map(|name| name.strip_prefix(PREFIX)?.strip_prefix('_'));
        let near = nearest(rest, rests);
        let near = near.and_then(|near| own.clone().find(|name| name.ends_with(&format!("{PREFIX}_{near}"))));
        (is_ours || (is_slip && near.is_some())).then_some(Unknown { name, near })
    };
    let mut unknown: Vec<Unknown> = names.into_iter().filter_map(judge).collect();
    unknown.sort_by(|a, b| a.name.cmp(&b.name));
    unknown
}

/// Warns about variables that do nothing, because their names are not known.
pub(super) fn warn() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for Unknown { name, near } in unknown(names) {
        tell!("warning: the environment has `{name}`, which prebake does not read");
        match near {
            Some(near) => tell!("  hint: did you mean `{near}`?"),
            None => tell!("  hint: `prebake man environment` lists the variables"),
        }
    }
}

/// The verbs that read a variable, in words.
fn verbs(variable: &Variable) -> String {
    let named = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match variable.verbs {
        Verbs::Words(words) => words.into(),
        Verbs::Named(names) => named(names),
        Verbs::Option => {
            let mut verbs = Vec::new();
            with_option(&Cli::command(), "", variable.name, &mut verbs);
            named(&verbs.iter().map(String::as_str).collect::<Vec<_>>())
        }
    }
}

/// The verbs below a command that have an option for a variable.
fn with_option(command: &Command, path: &str, variable: &str, found: &mut Vec<String>) {
    for verb in command.get_subcommands() {
        let path = format!("{path} {}", verb.get_name()).trim_start().to_owned();
        let has = verb.get_arguments().any(|option| option.get_env().is_some_and(|name| name == variable));
        if has {
            found.push(path.clone());
        }
        with_option(verb, &path, variable, found);
    }
}

/// The groups with a heading, and a sentence about each.
const GROUPS: [(Group, &str, &str); 5] = [
    (Group::Own, "prebake's own", "An option of the same meaning comes before its variable."),
    (
        Group::Matchbox,
        "Matchbox's",
        "`prebake serve` reads them as Matchbox does; an empty one counts as unset.",
    ),
    (Group::System, "The system's", "These are read as other programs read them."),
    (
        Group::Machine,
        "On machines",
        "Scripts of the shipped sysexts read these, on machines alone; a unit's drop-in sets them.",
    ),
    (Group::Repository, "In this repository", "Tests and packaging read these; no verb does."),
];

/// The lines between which the page in `docs/guides` has its tables.
pub const MARKS: [&str; 2] = [
    "<!-- Made from src/cli/environment.rs: PREBAKE_BLESS=1 cargo test --test it reference -->\n",
    "<!-- The end of the tables. -->\n",
];

/// The tables of the page in `docs/guides`.
pub fn tables() -> String {
    let mut text = String::new();
    for (group, title, words) in GROUPS {
        let _ = write!(
            text,
            "\n## {title}\n\n{words}\n\n| variable | meaning | if not set | read by |\n|---|---|---|---|\n"
        );
        for variable in VARIABLES.iter().filter(|variable| variable.group == group) {
            let Variable { name, absent, words, .. } = variable;
            let _ = writeln!(text, "| `{name}` | {words} | {absent} | {} |", verbs(variable));
        }
    }
    text + "\n"
}

/// The manual page, prebake-environment(7).
pub(super) fn page() -> String {
    let mut page = Page::new("prebake-environment", 7, "variables of the environment that prebake reads");
    page.section("DESCRIPTION");
    page.paragraph(
        "A name that begins with PREBAKE_ and is not below is warned about by every verb: it would do nothing.",
    );
    for (group, title, words) in GROUPS {
        page.section(&title.to_uppercase());
        page.paragraph(words);
        for variable in VARIABLES.iter().filter(|variable| variable.group == group) {
            let mut paragraphs =
                vec![variable.words.to_owned(), format!("If it is not set: {}.", variable.absent)];
            if !matches!(group, Group::Machine | Group::Repository) {
                paragraphs.push(format!("Read by: {}.", verbs(variable)));
            }
            page.term(variable.name, &paragraphs);
        }
    }
    page.section("SEE ALSO");
    page.paragraph("`prebake`(1), `prebake-recipe`(5)");
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(names: &[&str]) -> Vec<(String, Option<&'static str>)> {
        let found = unknown(names.iter().map(|name| (*name).to_owned()));
        found.into_iter().map(|Unknown { name, near }| (name, near)).collect()
    }

    /// ux 1.15: `PREBAKE_MIRROR_FLATCR=…` was ignored, and the public host was asked.
    #[test]
    fn a_misspelt_variable_is_told_with_the_nearest_name() {
        assert_eq!(
            told(&[
                "PREBAKE_MIRROR_FLATCR",
                "HOME",
                "PREBAKE_STORE",
                "prebake_server",
                "PREBAK_STORE",
                "PREBAKE_OFFLINE"
            ]),
            [
                ("PREBAKE_MIRROR_FLATCR".into(), Some("PREBAKE_MIRROR_FLATCAR")),
                ("PREBAKE_OFFLINE".into(), None),
                ("PREBAK_STORE".into(), Some("PREBAKE_STORE")),
                ("prebake_server".into(), Some("PREBAKE_SERVER")),
            ]
        );
    }

    #[test]
    fn names_of_others_and_those_of_tests_and_machines_are_not_told() {
        let others = [
            "PREBAKE_SERVICE_HOST",
            "PREBAKE_PORT_8080_TCP",
            "PREBAKE_SKIP_JUDGES",
            "PREBAKE_TEST_FLATCAR_KEY",
            "PREBAKE_WAIT",
            "BAKE_STORE",
            "STORE",
            "REMAKE_STORE",
            "MATCHBOX_DATA_PATH",
        ];
        assert_eq!(told(&others), []);
    }

    #[test]
    fn a_variable_of_an_option_is_read_by_the_verbs_that_have_it() {
        let mut command = Cli::command();
        command.build();
        for variable in VARIABLES {
            let Verbs::Named(verbs) = variable.verbs else { continue };
            for verb in verbs {
                let found = verb.split(' ').try_fold(&command, |command, name| command.find_subcommand(name));
                assert!(found.is_some(), "{}: there is no verb `{verb}`", variable.name);
            }
        }
        for variable in VARIABLES.iter().filter(|variable| matches!(variable.verbs, Verbs::Option)) {
            assert!(!verbs(variable).is_empty(), "{}", variable.name);
        }
        let mut verbs = Vec::new();
        with_option(&command, "", "PREBAKE_STORE", &mut verbs);
        assert!(
            verbs.iter().any(|verb| verb == "build") && verbs.iter().any(|verb| verb == "store gc"),
            "{verbs:?}"
        );
    }
}
