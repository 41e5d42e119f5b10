//! Secrets that are known by their place in a line: arguments of commands, fields of small formats, hashes of passwords.

use super::kind::{HASHES, Kind, all};
use super::token;
use super::value::{is_given, is_opaque};

/// How an option of a command is followed by a secret.
#[derive(Clone, Copy)]
enum Form {
    /// By the next word, or what is joined to it.
    Word,
    /// What is joined to it.
    Joined,
    /// By `NAME:PASSWORD`, or `NAME%PASSWORD` of Samba's.
    Login,
}

/// Options of commands that are given a secret (their manual pages); those of long names are found by their names.
const COMMANDS: [(&[&str], &[&str], Form); 9] = [
    (&["curl"], &["-u", "--user", "-U", "--proxy-user"], Form::Login),
    (&["http", "https", "xh"], &["-a", "--auth"], Form::Login),
    (&["etcdctl"], &["--user"], Form::Login),
    (&["smbclient", "rpcclient", "net"], &["-U", "--user"], Form::Login),
    (&["sshpass"], &["-p"], Form::Word),
    (
        &["mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump", "mariadb-admin"],
        &["-p"],
        Form::Joined,
    ),
    (&["ipmitool", "mosquitto_pub", "mosquitto_sub"], &["-P"], Form::Word),
    (&["redis-cli", "valkey-cli"], &["-a"], Form::Word),
    (&["ldapsearch", "ldapadd", "ldapmodify", "ldapdelete", "ldappasswd"], &["-w"], Form::Word),
];
/// Commands whose `-p` is a password behind the word `login`.
const LOGINS: [&str; 10] =
    ["docker", "podman", "nerdctl", "skopeo", "buildah", "oras", "crane", "helm", "az", "oc"];

/// A word of a command line without its quotes, and its first byte.
fn words(line: &str) -> Vec<(usize, &str)> {
    let quote = |c: char| "\"'`(),[]".contains(c);
    let word = |word: &'_ str| {
        let start = word.as_ptr() as usize - line.as_ptr() as usize;
        (start + word.len() - word.trim_start_matches(quote).len(), word.trim_matches(quote).len())
    };
    let words = line.split_whitespace().map(word).filter(|(_, length)| *length > 0);
    words.map(|(at, length)| (at, &line[at..at + length])).collect()
}

/// Every secret of a line by its place.
pub(super) fn secrets(path: &str, line: &str) -> Vec<(usize, Kind)> {
    let mut found = Vec::new();
    found.extend(token::in_line(line).into_iter().map(|at| (at, Kind::ServiceToken)));
    found.extend(hashes(line).into_iter().map(|at| (at, Kind::PasswordHash)));
    found.extend(shared_access(line));
    if line.contains("K10") && line.contains("::") {
        found.extend(cluster_token(line));
    }
    if line.trim_start().starts_with("$ANSIBLE_VAULT;") {
        found.push((line.len() - line.trim_start().len(), Kind::Vault));
    }
    found.extend(credential(line));
    found.extend(of_format(path, line).map(|at| (at, Kind::Password)));
    if line.len() < 2 << 10 {
        found.extend(of_command(line).into_iter().map(|at| (at, Kind::Password)));
    }
    found
}

/// `K10DIGEST::USER:PASSWORD`, and its short form without the digest is no more than an assignment.
fn cluster_token(line: &str) -> Option<(usize, Kind)> {
    let at = line.find("K10")?;
    let (digest, rest) = line[at + 3..].split_once("::")?;
    (digest.len() >= 32 && all(digest, |byte| byte.is_ascii_hexdigit()) && rest.contains(':'))
        .then_some((at, Kind::ClusterToken))
}

/// The signature of Azure's shared access and of presigned URLs of S3: whoever has the URL is let in.
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

/// `SetCredential=ID:VALUE` of a unit (systemd.exec(5): not for what is sensitive), and its kernel argument. Sealed ones are
/// others.
fn credential(line: &str) -> Option<(usize, Kind)> {
    let key = ["SetCredential=", "systemd.set_credential="].into_iter().find(|key| line.contains(key))?;
    let start = line.find(key)? + key.len();
    let (id, rest) = line[start..].split_once(':')?;
    let at = start + id.len() + 1;
    let value = rest.split_whitespace().next()?.trim_matches(['"', '\'']);
    let says = super::assign::class(id).is_some();
    (is_opaque(value) || says && is_given(value)).then_some((at, Kind::Password))
}

/// Where the hash of a password begins, in any form of crypt(5), LDAP's, PostgreSQL's and GRUB's.
fn hashes(line: &str) -> Vec<usize> {
    let mut found = Vec::new();
    if line.contains('$') || line.contains('{') {
        let digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"./$=,+:-_}".contains(byte);
        for prefix in HASHES {
            for (at, _) in line.match_indices(prefix) {
                let rest = &line.as_bytes()[at + prefix.len()..];
                let length = rest.iter().take_while(|byte| digit(byte)).count();
                let joined = line[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
                // The salt, `$`, and the digits; a shell's variables have names.
                let is_hash = prefix.starts_with('{') || rest[..length].contains(&b'$');
                if length + prefix.len() >= 20 && is_hash && !joined {
                    found.push(at);
                }
            }
        }
    }
    for prefix in ["grub.pbkdf2.sha512.", "SCRAM-SHA-256$", "pbkdf2_sha256$"] {
        found.extend(line.match_indices(prefix).filter(|(at, _)| line.len() - at >= 40).map(|(at, _)| at));
    }
    // DES and BSDi have no mark: a line of shadow(5) with 13 or 20 digits.
    let fields: Vec<&str> = line.trim_end().split(':').collect();
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

/// The secret of a line in one of the small formats that have no names for it.
fn of_format(path: &str, line: &str) -> Option<usize> {
    let file = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let text = line.trim_end();
    if text.trim_start().starts_with('#') {
        return None;
    }
    let fields: Vec<(usize, &str)> = words(text);
    let field = |index: usize| fields.get(index).copied();
    let given = |(at, value): (usize, &str)| is_given(value).then_some(at);
    // pppd(8): client, server, secret, addresses.
    if file.ends_with("ap-secrets") {
        return given(field(2)?);
    }
    // The API server's static tokens: token, user, uid, groups.
    if file.ends_with(".csv") && file.contains("token") {
        let (token, rest) = text.split_once(',')?;
        return (token.len() >= 8 && rest.contains(',') && is_given(token.trim_matches('"'))).then_some(0);
    }
    // libpq's password file: host, port, database, user, password.
    let parts: Vec<&str> = text.splitn(5, ':').collect();
    if let [host, port, base, user, password] = parts[..]
        && (port == "*" || port.len() >= 4 && all(port, |byte| byte.is_ascii_digit()))
        && (file.contains("pgpass") || host.contains('.') || ["*", "localhost"].contains(&host))
        && ![host, base, user, password].iter().any(|part| part.is_empty() || part.contains([' ', '/', '"']))
        && (is_given(password) || file.contains("pgpass"))
    {
        return Some(text.len() - password.len());
    }
    // strongSwan's ipsec.secrets: selectors, `:`, the kind and the secret; PSKs are found by their name.
    if let Some((before, rest)) = text.split_once(": ")
        && !before.contains('"')
        && let Some(secret) =
            ["EAP \"", "XAUTH \"", "NTLM \"", "PIN \""].iter().find_map(|kind| rest.strip_prefix(kind))
    {
        return Some(text.len() - secret.len());
    }
    match (field(0)?.1, fields.len()) {
        // net-snmp: name, hash, secret.
        ("createUser" | "createuser", 4..) => field(3).and_then(given),
        ("rocommunity" | "rwcommunity" | "rocommunity6" | "rwcommunity6", 2..) => {
            field(1).filter(|(_, value)| !["public", "private"].contains(value)).and_then(given)
        }
        _ => None,
    }
}

/// What is on a line of .netrc (inetutils: netrc): `machine HOST login NAME password SECRET`, or a part of it.
pub(super) fn netrc(line: &str) -> Option<(bool, Option<usize>)> {
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

/// `NAME:PASSWORD`, as chpasswd(8) and cloud-init's list have it.
pub(super) fn login(text: &str) -> Option<usize> {
    let (name, password) = text.split_once(':')?;
    let name_like = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@\\".contains(&byte);
    let plain = !name.is_empty() && all(name, name_like) && !password.contains(char::is_whitespace);
    (plain && is_given(password) && !is_number(password)).then_some(name.len() + 1)
}

fn is_number(text: &str) -> bool {
    all(text, |byte| byte.is_ascii_digit() || byte == b':')
}

/// Every secret that a command is given.
fn of_command(line: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let words = words(line);
    let ends = |word: &str| ["|", ";", "&&", "||", "\\"].contains(&word);
    let stdin = line.contains("--password-stdin") || line.contains("passwd --stdin");
    let chpasswd = words.iter().any(|(_, word)| command(word) == "chpasswd");
    for (index, (at, word)) in words.iter().enumerate() {
        // openssl(1), pass phrase arguments.
        if let Some(secret) = word.strip_prefix("pass:").filter(|secret| is_given(secret)) {
            found.push(at + word.len() - secret.len());
        }
        if let Some((_, secret)) = word.strip_prefix("--from-literal=").and_then(|pair| pair.split_once('='))
            && line.contains("secret")
            && is_given(secret)
        {
            found.push(at + word.len() - secret.len());
        }
        let name = command(word);
        let rest = || words[index + 1..].iter().take_while(|(_, word)| !ends(word));
        if ["echo", "printf"].contains(&name) && (stdin || chpasswd) {
            for (at, word) in rest().filter(|(_, word)| !word.starts_with(['-', '%'])) {
                match login(word) {
                    Some(behind) => found.push(at + behind),
                    None if stdin && is_given(word) => found.push(*at),
                    None => {}
                }
            }
        }
        let logs_in = LOGINS.contains(&name) && rest().any(|(_, word)| *word == "login");
        let own = COMMANDS
            .iter()
            .filter(|(names, ..)| names.contains(&name))
            .map(|(_, options, form)| (*options, *form));
        for (options, form) in own.chain(logs_in.then_some((&["-p"][..], Form::Word))) {
            found.extend(options.iter().filter_map(|option| given(&words[index + 1..], option, form)));
        }
    }
    found
}

/// The secret behind an option.
fn given(words: &[(usize, &str)], option: &str, form: Form) -> Option<usize> {
    let words: Vec<_> = words.iter().take_while(|(_, word)| !["|", ";", "&&", "||"].contains(word)).collect();
    let index = words.iter().position(|(_, word)| {
        *word == option
            || word
                .strip_prefix(option)
                .is_some_and(|rest| option.len() == 2 && !rest.is_empty() || rest.starts_with('='))
    })?;
    let (at, word) = *words[index];
    let joined = word[option.len()..].trim_start_matches(['=', '"', '\'']);
    let (at, value) = match joined.is_empty() {
        false => (at + word.len() - joined.len(), joined),
        true if matches!(form, Form::Joined) => return None,
        true => *words.get(index + 1).copied()?,
    };
    match form {
        Form::Login => {
            let (name, secret) = value.split_once(':').or_else(|| value.split_once('%'))?;
            (is_given(secret) || is_opaque(name) && secret.is_empty())
                .then_some(at + if secret.is_empty() { 0 } else { name.len() + 1 })
                .filter(|_| !is_number(value))
        }
        Form::Word | Form::Joined => is_given(value).then_some(at),
    }
}

/// A command without the path to it.
fn command(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word).trim_start_matches(['@', '-', '+', '='])
}
