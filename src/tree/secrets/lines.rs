//! Secrets that are recognised by their position in a line: arguments of commands, fields of small formats, hashes of
//! passwords.

use std::ops::Range;

use super::assign::Class;
use super::document::says_what_for;
use super::effort::Effort;
use super::kind::{HASHES, Kind, all, is_bootstrap_token};
use super::token;
use super::triggers::{Look, Seen};
use super::value::{is_given, is_opaque};

/// How an option of a command gets its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As the next word, or joined to the option.
    Word,
    /// Joined to the option only.
    Joined,
    /// As `NAME:PASSWORD`, or as Samba's `NAME%PASSWORD`.
    Login,
    /// As `NAME=PASSWORD` in a list with commas: `-o user=me,password=…`.
    List,
}

/// Options of commands that take a secret (their manual pages). Options with telling long names are found by these
/// names.
const COMMANDS: [(&[&str], &[&str], Form); 20] = [
    (&["curl"], &["-u", "--user", "-U", "--proxy-user"], Form::Login),
    (&["http", "https", "xh"], &["-a", "--auth"], Form::Login),
    (&["etcdctl"], &["--user"], Form::Login),
    (&["smbclient", "rpcclient", "net"], &["-U", "--user"], Form::Login),
    (&["lftp"], &["-u"], Form::Login),
    (&["sshpass"], &["-p"], Form::Word),
    (
        &["mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump", "mariadb-admin", "7z", "7za", "7zr"],
        &["-p"],
        Form::Joined,
    ),
    (&["ipmitool", "mosquitto_pub", "mosquitto_sub", "zip", "unzip"], &["-P"], Form::Word),
    (&["redis-cli", "valkey-cli"], &["-a"], Form::Word),
    (&["mongo", "mongosh", "mongodump", "mongorestore"], &["-p"], Form::Word),
    (&["ldapsearch", "ldapadd", "ldapmodify", "ldapdelete", "ldappasswd"], &["-w"], Form::Word),
    (&["snmpget", "snmpwalk", "snmpset", "snmptrap"], &["-A", "-X"], Form::Word),
    (&["useradd", "usermod"], &["-p"], Form::Word),
    (&["gpg", "gpg2"], &["--passphrase"], Form::Word),
    (&["mount", "mount.cifs"], &["-o"], Form::List),
    (&["k3s", "rke2", "k3sup"], &["-t", "--token", "--agent-token", "--k3s-token"], Form::Word),
    (&["kubeadm", "swarm", "consul", "nomad"], &["--token", "-token"], Form::Word),
    (&["htpasswd"], &["-b"], Form::Word),
    (&["vault", "bao"], &["-token"], Form::Word),
    (
        &["docker", "podman", "nerdctl", "skopeo", "buildah", "oras", "crane", "helm"],
        &["--creds", "--src-creds", "--dest-creds"],
        Form::Login,
    ),
];
/// Commands whose `-p` is a password after the word `login`.
const LOGINS: [&str; 10] =
    ["docker", "podman", "nerdctl", "skopeo", "buildah", "oras", "crane", "helm", "az", "oc"];
/// Commands that take a secret as an argument: the words before it, and the number of other arguments between.
const PLACES: [(&str, &[&str], usize); 5] = [
    // Vault's `login TOKEN` (and OpenBao's); `login -method=userpass username=… password=…` is found by its names.
    ("vault", &["login"], 0),
    ("bao", &["login"], 0),
    // wpa_passphrase(8): SSID PASSPHRASE.
    ("wpa_passphrase", &[], 1),
    // htpasswd(1): -b FILE NAME PASSWORD, and -nb NAME PASSWORD.
    ("htpasswd", &["-nb"], 1),
    ("htpasswd", &["-nbB"], 1),
];
/// Commands that read a secret from standard input.
const READERS: [(&str, &str); 7] = [
    ("chpasswd", ""),
    ("sudo", "-S"),
    ("passwd", "--stdin"),
    ("cryptsetup", "-"),
    ("cryptsetup", ""),
    ("login", "--password-stdin"),
    ("smbpasswd", "-s"),
];

/// The words of a command line without their quotes, each with its offset.
fn words(line: &str) -> Vec<(usize, &str)> {
    let quote = |c: char| "\"'`(),[]".contains(c);
    let word = |word: &'_ str| {
        let start = word.as_ptr() as usize - line.as_ptr() as usize;
        (start + word.len() - word.trim_start_matches(quote).len(), word.trim_matches(quote).len())
    };
    let words = line.split_whitespace().map(word).filter(|(_, length)| *length > 0);
    words.map(|(at, length)| (at, &line[at..at + length])).collect()
}

/// Every secret of a line with its offset.
pub(super) fn secrets(path: &Name, line: &str, seen: &Seen, effort: &Effort) -> Vec<(usize, Kind)> {
    let mut found = Vec::new();
    if seen.any(&[Look::Middle]) {
        found.extend(token::in_line(line).into_iter().map(|at| (at, Kind::ServiceToken)));
    }
    found.extend(hashes(line, seen).into_iter().map(|at| (at, Kind::PasswordHash)));
    if seen.any(&[Look::Signature]) {
        found.extend(shared_access(line));
    }
    if seen.any(&[Look::Cluster]) {
        found.extend(cluster_token(line));
    }
    if line.trim_start().starts_with("$ANSIBLE_VAULT;") {
        found.push((line.len() - line.trim_start().len(), Kind::Vault));
    }
    if seen.any(&[Look::Credential]) {
        found.extend(credential(line));
    }
    found.extend(of_format(path, line, seen).map(|at| (at, Kind::Password)));
    if seen.any(&[Look::Command, Look::Rancher]) {
        let example =
            |(at, _): &(usize, Kind)| line.get(*at..at + 23).is_some_and(|word| path.is_example(word));
        found.extend(of_command(line, effort).into_iter().filter(|found| !example(found)));
    }
    found
}

/// Finds `K10DIGEST::USER:PASSWORD`; the short form without the digest is found only as an assignment.
fn cluster_token(line: &str) -> Option<(usize, Kind)> {
    let at = line.find("K10")?;
    let (digest, rest) = line[at + 3..].split_once("::")?;
    (digest.len() >= 32 && all(digest, |byte| byte.is_ascii_hexdigit()) && rest.contains(':'))
        .then_some((at, Kind::ClusterToken))
}

/// The signature of Azure's shared access and of presigned URLs of S3: anybody with the URL has access.
fn shared_access(line: &str) -> Option<(usize, Kind)> {
    let of = |name: &str, mark: &str| {
        let at = line.find(name).filter(|_| line.contains(mark))? + name.len();
        let digits =
            line[at..].bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"%+/=".contains(byte));
        (digits.count() >= 40).then_some((at, Kind::CloudKey))
    };
    of("sig=", "se=")
        .or_else(|| of("X-Amz-Signature=", "X-Amz-"))
        .or_else(|| of("X-Goog-Signature=", "X-Goog-"))
}

/// `SetCredential=ID:VALUE` of a unit (systemd.exec(5): not for sensitive data), and its kernel argument. Encrypted
/// credentials have another name.
fn credential(line: &str) -> Option<(usize, Kind)> {
    let key = ["SetCredential=", "systemd.set_credential="].into_iter().find(|key| line.contains(key))?;
    let start = line.find(key)? + key.len();
    let (id, rest) = line[start..].split_once(':')?;
    let at = start + id.len() + 1;
    let value = rest.split_whitespace().next()?.trim_matches(['"', '\'']);
    let says = super::assign::class(id).is_some();
    (is_opaque(value) || says && is_given(value)).then_some((at, Kind::Password))
}

/// Offsets of password hashes, in any form of crypt(5), LDAP's, PostgreSQL's and GRUB's.
fn hashes(line: &str, seen: &Seen) -> Vec<usize> {
    /// Upper limit for the digits that are read, in bytes.
    const ENOUGH: usize = 128;
    let mut found = Vec::new();
    let digit = |byte: &&u8| byte.is_ascii_alphanumeric() || b"./$=,+:-_}".contains(byte);
    for at in memchr::memchr2_iter(b'$', b'{', line.as_bytes()) {
        let Some(prefix) = HASHES.iter().find(|prefix| line[at..].starts_with(**prefix)) else { continue };
        let rest = &line.as_bytes()[at + prefix.len()..];
        let length = rest.iter().take(ENOUGH).take_while(digit).count();
        let joined = line[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        // The salt, `$`, and the digits; a shell's variables have names instead.
        let is_hash = prefix.starts_with('{') || rest[..length].contains(&b'$');
        if length + prefix.len() >= 20 && is_hash && !joined {
            found.push(at);
        }
    }
    if seen.any(&[Look::Hash]) {
        for prefix in ["grub.pbkdf2.sha512.", "SCRAM-SHA-256$", "pbkdf2_sha256$"] {
            let places = line.match_indices(prefix).filter(|(at, _)| line.len() - at >= 40);
            found.extend(places.map(|(at, _)| at));
        }
    }
    // DES and BSDi have no prefix: look for a line of shadow(5) with 13 or 20 digits.
    let fields: Vec<&str> = line.trim_end().splitn(10, ':').collect();
    let crypt = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
    if let [name, hash, day, _, _, _, _, _, _] = fields[..]
        && !name.is_empty()
        && all(day, |byte| byte.is_ascii_digit())
        && (hash.len() == 13 && all(hash, crypt)
            || hash.len() == 20 && hash.starts_with('_') && all(&hash[1..], crypt))
    {
        found.push(name.len() + 1);
    }
    found
}

/// The name of a file, by which small formats are recognised.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// File name in lower case, without directories.
    pub(super) file: String,
    /// Whole path in lower case.
    whole: String,
}

impl Name {
    pub(super) fn of(path: &str) -> Self {
        let whole = path.to_ascii_lowercase();
        Name { file: whole.rsplit('/').next().unwrap_or(&whole).to_owned(), whole }
    }

    /// Whether K3s or RKE2 reads the file: their tokens are words that people choose.
    pub(super) fn is_rancher(&self) -> bool {
        ["etc/rancher/", "lib/rancher/"].iter().any(|part| self.whole.contains(part))
    }

    /// Whether the file is a document for people, which may show examples.
    pub(super) fn is_document(&self) -> bool {
        [".md", ".mdx", ".rst", ".adoc", ".html", ".txt"].iter().any(|end| self.file.ends_with(end))
    }

    /// Whether this is the token of kubeadm's own documentation, in a document.
    pub(super) fn is_example(&self, word: &str) -> bool {
        word == "abcdef.0123456789abcdef" && self.is_document()
    }

    /// Whether the file has the texts of a user interface.
    pub(super) fn is_interface(&self) -> bool {
        ["i18n", "/locale", "/lang/", "/languages/", "translation", "l10n"]
            .iter()
            .any(|part| self.whole.contains(part))
            || [".po", ".pot", ".xlf", ".arb"].iter().any(|end| self.file.ends_with(end))
    }
}

/// The secret of a line in a small format that gives it no name.
fn of_format(path: &Name, line: &str, seen: &Seen) -> Option<usize> {
    let file = path.file.as_str();
    let of_file = file.ends_with("ap-secrets")
        || file.contains("pgpass")
        || file.ends_with(".csv")
        || file.contains("chrony") && file.contains("key")
        || file == "ntp.keys";
    let text = line.trim_end();
    if text.trim_start().starts_with('#') {
        return None;
    }
    // libpq's password file: host, port, database, user, password.
    if memchr::memchr_iter(b':', text.as_bytes()).take(4).count() == 4 {
        let parts: Vec<&str> = text.splitn(5, ':').collect();
        if let [host, port, base, user, password] = parts[..]
            && (port == "*" || port.len() >= 4 && all(port, |byte| byte.is_ascii_digit()))
            && (file.contains("pgpass") || host.contains('.') || ["*", "localhost"].contains(&host))
            && ![host, base, user, password]
                .iter()
                .any(|part| part.is_empty() || part.contains([' ', '/', '"']))
            && (is_given(password) || file.contains("pgpass"))
        {
            return Some(text.len() - password.len());
        }
    }
    if !of_file && !seen.any(&[Look::Format]) {
        return None;
    }
    let fields: Vec<(usize, &str)> = words(text);
    let field = |index: usize| fields.get(index).copied();
    let given = |(at, value): (usize, &str)| is_given(value).then_some(at);
    // pppd(8): client, server, secret, addresses.
    if file.ends_with("ap-secrets") {
        return given(field(2)?);
    }
    // chrony.keys and ntp.keys: number, type, secret, which may begin with `HEX:` or `ASCII:` (chrony.conf(5),
    // `keyfile`).
    if file.contains("chrony") || file == "ntp.keys" {
        let numbered = all(field(0)?.1, |byte| byte.is_ascii_digit());
        let (at, secret) = field(if fields.len() == 2 { 1 } else { 2 })?;
        return (numbered && secret.len() >= 4 && secret.rsplit(':').next().is_some_and(is_given))
            .then_some(at);
    }
    // The API server's static tokens: token, user, uid, groups.
    if file.ends_with(".csv") && file.contains("token") {
        let (token, rest) = text.split_once(',')?;
        return (token.len() >= 8 && rest.contains(',') && is_given(token.trim_matches('"'))).then_some(0);
    }
    // strongSwan's ipsec.secrets: selectors, `:`, the type and the secret; PSKs are found by their name.
    if let Some((before, rest)) = text.split_once(": ")
        && !before.contains('"')
        && let Some(secret) =
            ["EAP \"", "XAUTH \"", "NTLM \"", "PIN \""].iter().find_map(|kind| rest.strip_prefix(kind))
    {
        return Some(text.len() - secret.len());
    }
    // SQL: `CREATE USER … IDENTIFIED BY '…'`, and the words that may come between (MySQL's and Oracle's manuals).
    let lower = text.to_ascii_lowercase();
    if let Some(at) = lower.find("identified by ").map(|at| at + "identified by ".len()) {
        let (at, rest) = match text[at..].strip_prefix("PASSWORD ").or(text[at..].strip_prefix("password ")) {
            Some(rest) => (at + "password ".len(), rest),
            None => (at, &text[at..]),
        };
        // Ordinary sentences use these words, too, about other things than users.
        let head = &lower[..lower.find("identified by ").unwrap_or_default()];
        let sql = ["create user", "alter user", "grant ", "create role", "alter role", "set password", "@"];
        let is_sql = head.trim().is_empty() || sql.iter().any(|word| head.contains(word));
        if !rest.starts_with(['\'', '"']) || !is_sql {
            return None;
        }
        let end = rest.get(1..)?.find(['\'', '"', ' ', ';']).map_or(rest.len(), |end| end + 1);
        return is_given(rest[..end].trim_start_matches(['\'', '"'])).then_some(at);
    }
    // PHP: `define('DB_PASSWORD', '…')`.
    if let Some(at) = lower.find("define(") {
        let mut parts = text[at + "define(".len()..].split(['\'', '"']);
        let (name, _, value) = (parts.nth(1)?, parts.next(), parts.next()?);
        let at = value.as_ptr() as usize - text.as_ptr() as usize;
        return match super::assign::class(name)? {
            Class::Password => is_given(value),
            Class::Secret => is_opaque(value),
            _ => false,
        }
        .then_some(at);
    }
    match (field(0)?.1, fields.len()) {
        // net-snmp: user name, hash, secret.
        ("createUser" | "createuser", 4..) => field(3).and_then(given),
        ("rocommunity" | "rwcommunity" | "rocommunity6" | "rwcommunity6", 2..) => {
            field(1).filter(|(_, value)| !["public", "private"].contains(value)).and_then(given)
        }
        // HAProxy: `stats auth NAME:PASSWORD`, `user NAME insecure-password PASSWORD`.
        ("stats", 3..) if field(1)?.1 == "auth" => {
            let (at, value) = field(2)?;
            login(value).map(|behind| at + behind)
        }
        ("user", 4..) if field(2)?.1 == "insecure-password" => field(3).and_then(given),
        // Redis' ACL files: `user NAME on >PASSWORD …`.
        ("user", 3..) => fields
            .iter()
            .find(|(_, word)| word.strip_prefix('>').is_some_and(is_given))
            .filter(|_| fields.iter().any(|(_, word)| ["on", "off"].contains(word)))
            .map(|(at, _)| at + 1),
        _ => None,
    }
}

/// Reads a line of .netrc (inetutils: netrc): `machine HOST login NAME password SECRET`, or a part of it. Returns
/// whether it names a machine, and the offset of its secret.
pub(super) fn netrc(line: &str) -> Option<(bool, Option<usize>)> {
    let first = line.split_whitespace().next()?;
    if !["default", "machine", "login", "password", "account"].contains(&first) {
        return None;
    }
    let words = words(line);
    let (first, pairs) = match words.first()?.1 {
        "default" => (true, &words[1..]),
        "machine" => (true, &words[..]),
        "login" | "password" | "account" => (false, &words[..]),
        _ => return None,
    };
    let named =
        |pair: &[(usize, &str)]| ["machine", "login", "password", "account", "port"].contains(&pair[0].1);
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) || !pairs.chunks(2).all(named) {
        return None;
    }
    let secret = pairs.chunks(2).find(|pair| pair[0].1 == "password" && is_given(pair[1].1));
    Some((first, secret.map(|pair| pair[1].0)))
}

/// The offset of the password in `NAME:PASSWORD`, as in chpasswd(8) and cloud-init's list.
pub(super) fn login(text: &str) -> Option<usize> {
    let (name, password) = text.split_once(':')?;
    let name_like = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@\\".contains(&byte);
    let plain = !name.is_empty() && all(name, name_like) && !password.contains(char::is_whitespace);
    (plain && is_given(password) && !is_number(password)).then_some(name.len() + 1)
}

fn is_number(text: &str) -> bool {
    all(text, |byte| byte.is_ascii_digit() || byte == b':')
}

/// Upper limit for the sets of options that are searched at once.
const MAX_ACTIVE: usize = 12;

/// Steps for each word of a command, which is compared with the names of all commands.
const PER_WORD: usize = 8;

/// Every secret in the arguments of a command. One pass over the line: the options of a command are searched for until
/// the command ends.
fn of_command(line: &str, effort: &Effort) -> Vec<(usize, Kind)> {
    let mut found = Vec::new();
    let words = words(line);
    let reader = reader(&words);
    let reads = reader.is_some();
    let logins = reader == Some(Reader::Logins);
    let mut said = if reads { said(line) } else { Vec::new() }.into_iter().peekable();
    let secrets = line.contains("secret");
    // Options of the current command.
    let mut active: Vec<(&[&str], Form)> = Vec::new();
    let mut named = None;
    let mut waits: Option<Form> = None;
    let mut literal = false;
    let mut place: Option<(usize, &[&str])> = None;
    for (at, word) in &words {
        if !effort.spend(PER_WORD + active.len()) {
            break;
        }
        if ["|", ";", "&&", "||"].contains(word) {
            (named, waits, place) = (None, None, None);
            active.clear();
            continue;
        }
        // openssl(1), pass phrase arguments.
        if let Some(secret) = word.strip_prefix("pass:").filter(|secret| is_given(secret)) {
            found.push((at + word.len() - secret.len(), Kind::Password));
        }
        // kubectl(1), `create secret generic --from-literal=NAME=VALUE`, or with a blank instead of the first `=`.
        let behind_option = std::mem::replace(&mut literal, *word == "--from-literal").then_some(*word);
        let pair = word.strip_prefix("--from-literal=").or(behind_option);
        if let Some((name, secret)) = pair.and_then(|pair| pair.split_once('='))
            && secrets
            && is_given(secret)
            && !says_what_for(name, secret)
        {
            found.push((at + word.len() - secret.len(), Kind::Password));
        }
        if let Some(form) = waits.take() {
            found.extend(given(*at, word, form).map(|at| (at, Kind::Password)));
            continue;
        }
        while said.next_if(|text| text.end <= *at).is_some() {}
        let says = said.peek().is_some_and(|text| text.contains(at));
        if (says || named == Some("<<<")) && !word.starts_with(['-', '%']) && *word != "<<<" {
            match login(word) {
                Some(behind) => found.push((at + behind, Kind::Password)),
                None if !logins && is_given(word) && !word.starts_with('>') => {
                    found.push((*at, Kind::Password))
                }
                None => {}
            }
        }
        if let Some(text) = word.strip_prefix("<<<").filter(|_| reads) {
            named = Some("<<<");
            let text = text.trim_start_matches(['"', '\'']);
            let start = at + word.len() - text.len();
            match login(text) {
                Some(behind) => found.push((start + behind, Kind::Password)),
                None if !logins && is_given(text) => found.push((start, Kind::Password)),
                None => {}
            }
            continue;
        }
        let name = command(word);
        if let Some((left, before)) = &mut place {
            match before.first() {
                Some(first) if first == word => *before = &before[1..],
                Some(_) => {}
                None if word.starts_with('-') => {}
                None if *left > 0 => *left -= 1,
                None => match word.split_once('=') {
                    Some((name, value)) => {
                        if super::assign::class(name) == Some(Class::Password) && is_given(value) {
                            found.push((at + name.len() + 1, Kind::Password));
                        }
                    }
                    None => {
                        found.extend(is_given(word).then_some((*at, Kind::Password)));
                        place = None;
                    }
                },
            }
        }
        if name == "kubeadm" || named == Some("kubeadm") {
            named = Some("kubeadm");
            if is_bootstrap_token(word) {
                found.push((*at, Kind::BootstrapToken));
            }
        }
        if name == "login" && named.is_some_and(|named| LOGINS.contains(&named)) {
            active.push((&["-p"], Form::Word));
        } else if LOGINS.contains(&name) {
            named = Some(name);
        }
        if active.len() < MAX_ACTIVE {
            let own = COMMANDS.iter().filter(|(names, ..)| names.contains(&name));
            for (_, options, form) in own {
                if !active.contains(&(*options, *form)) {
                    active.push((options, *form));
                }
            }
        }
        if place.is_none() {
            place = PLACES.iter().find(|(own, ..)| *own == name).map(|(_, before, left)| (*left, *before));
        }
        if !word.starts_with('-') {
            continue;
        }
        for (options, form) in &active {
            match options.iter().find_map(|option| behind(word, option)) {
                Some("") if *form != Form::Joined => waits = Some(*form),
                Some(joined) if !joined.is_empty() => {
                    let value = joined.trim_start_matches(['=', '"', '\'']);
                    let start = at + word.len() - value.len();
                    found.extend(given(start, value, *form).map(|at| (at, Kind::Password)));
                }
                _ => {}
            }
        }
    }
    found
}

/// Format that a command reads from standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// `NAME:PASSWORD`, one per line.
    Logins,
    /// One password.
    Password,
}

/// The format that is read, if one of these words is a command that reads a secret.
fn reader(words: &[(usize, &str)]) -> Option<Reader> {
    let is = |text: &str| words.iter().any(|(_, word)| command(word) == text);
    let reads = READERS.iter().any(|(name, option)| {
        let options =
            || words.iter().any(|(_, word)| word == option || *option == "-S" && short(word, 'S').is_some());
        is(name) && (option.is_empty() || options())
    });
    reads.then(|| if is("chpasswd") { Reader::Logins } else { Reader::Password })
}

/// The format of a here-document that begins in a line, and the word that ends it.
pub(super) fn here_document(line: &str) -> Option<(Reader, &str)> {
    let (before, end) = line.split_once("<<").filter(|(_, end)| !end.starts_with('<'))?;
    let word = end.trim_start_matches(['-', ' ', '~']).split([' ', '|', ';', '>']).next()?;
    let word = word.trim_matches(['"', '\'', '\\']);
    let own = before.rsplit([';', '|', '&']).next().unwrap_or(before);
    let next =
        || end.split_once('|').map(|(_, next)| next.split([';', '|', '&', '>']).next().unwrap_or(next));
    let reader = reader(&words(own)).or_else(|| reader(&words(next()?)))?;
    (!word.is_empty()).then_some((reader, word))
}

/// Ranges of the texts that `echo` and `printf` pipe to a command that reads a secret. One pass over the line; quotes
/// are counted from the command on, since the whole may be in quotes of YAML or of `sh -c`.
fn said(line: &str) -> Vec<Range<usize>> {
    let bytes = line.as_bytes();
    // Position of the next character outside of quotes that ends a command.
    let end = |from: usize| {
        let (mut at, mut quote) = (from, None);
        while at < bytes.len() {
            match (bytes[at], quote) {
                (b'\\', _) => at += 1,
                (byte, Some(open)) if byte == open => quote = None,
                (_, Some(_)) => {}
                (b'"' | b'\'', None) => quote = Some(bytes[at]),
                (b'|' | b';' | b'&' | b')' | b'`', None) => return at,
                _ => {}
            }
            at += 1;
        }
        bytes.len()
    };
    let says = ["echo ", "printf "]
        .map(|name| memchr::memmem::find_iter(bytes, name).map(|at| at + name.len()).collect::<Vec<_>>());
    let mut starts = says.concat();
    starts.sort_unstable();
    let mut found = Vec::new();
    let mut from = 0;
    for start in starts {
        if start < from {
            continue;
        }
        let stop = end(start);
        from = stop;
        if bytes.get(stop) == Some(&b'|') && bytes.get(stop + 1) != Some(&b'|') {
            from = end(stop + 1);
            if line.get(stop + 1..from).is_some_and(|next| reader(&words(next)).is_some()) {
                found.push(start..stop);
            }
        }
    }
    found
}

/// The value that is joined to an option in this word, if the word is that option: `-pX`, `--auth=X`, and after other
/// letters, `-sSuX`.
fn behind<'w>(word: &'w str, option: &str) -> Option<&'w str> {
    if let Some(rest) = word.strip_prefix(option) {
        return (rest.is_empty() || rest.starts_with('=') || option.len() == 2).then_some(rest);
    }
    let letter = option.strip_prefix('-').filter(|letter| letter.len() == 1)?.chars().next()?;
    short(word, letter)
}

/// The rest of a word of combined short options after this letter. Options before it take no value: they are few, and
/// letters.
fn short(word: &str, letter: char) -> Option<&str> {
    let letters = word.strip_prefix('-').filter(|letters| !letters.starts_with('-'))?;
    let (before, rest) = letters.split_once(letter)?;
    // Options of curl that take a value swallow the rest of the word.
    let plain = |byte: u8| byte.is_ascii_alphabetic() && !b"XHdoTFAbceEmQrtwxyYzCKP".contains(&byte);
    (before.len() <= 6 && all(before, plain)).then_some(rest)
}

/// Offset of the secret in the value of an option.
fn given(at: usize, value: &str, form: Form) -> Option<usize> {
    match form {
        Form::Login => {
            let (name, secret) = value.split_once(':').or_else(|| value.split_once('%'))?;
            (is_given(secret) || is_short(secret) || is_opaque(name) && secret.is_empty())
                .then_some(at + if secret.is_empty() { 0 } else { name.len() + 1 })
                .filter(|_| !is_number(value))
        }
        Form::List => {
            let names = ["password=", "pass=", "password2="];
            let field = value.split(',').find(|field| names.iter().any(|name| field.starts_with(name)))?;
            let (_, secret) = field.split_once('=')?;
            is_given(secret).then_some(at + secret.as_ptr() as usize - value.as_ptr() as usize)
        }
        // `zip -P` may be followed by the archive, if zip asks for the password.
        Form::Word => (is_given(value) && !value.ends_with(".zip")).then_some(at),
        // Long options with one dash that look like `-p` of mysql(1): `-port=3307`, `-prod`.
        Form::Joined => {
            let long = ["ort", "rod", "rotocol", "rint"].iter().any(|rest| {
                value.strip_prefix(rest).is_some_and(|rest| rest.is_empty() || rest.starts_with(['=', '-']))
            });
            (is_given(value) && !long).then_some(at)
        }
    }
}

/// Whether this is a password too short for [`is_given`], which a person typed beside a name.
fn is_short(secret: &str) -> bool {
    (1..4).contains(&secret.len())
        && !secret.starts_with(['$', '{', '<', '%', '*', '.', '/'])
        && !is_number(secret)
}

/// Name of a command without its directory.
fn command(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word).trim_start_matches(['@', '-', '+', '='])
}
