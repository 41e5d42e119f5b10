//! Secrets as they were planted in public layers: the 159 kinds of a day of attacks (findings C, M14), and their
//! siblings.
//!
//! Values are made up, with the characters and lengths of real ones; keys in DER were made by OpenSSL 3.

use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::gzip;

pub(crate) const RSA: &str = "MIICWwIBAAKBgQCwl/zl9w5EncnosDwgqpTc2twyoUR3AoWwq5/6zEGJsA29edWmZE0EwCcm5kz9ZzwU/F5+zd11nfmeYVSwvkweIz/Tyy27GhlTwygyKPpDrMXXTIIX2ndh3SqJmC1a3trN8GHZeh5c2CiNcbitQhatRUZ7QHNkMVGrRvBWo9mOSQIDAQABAoGAO2xZgHS7C2HhQHiVMxTTlOHcuPjFVhq2K/YElltHLnLcnMazmxMjS5bxVcinXZnwgMtPbPIPNHXdOmtcGUFf0TC1vlG2EM7jvlZFXYBkXShFNBRek7HrHXRkZ85SukCUvdh/Ul9FZfmZghWJnRj24ZN5gZ9oXEV+PQSfQo4XAlUCQQDojoo4K5WFSdAjd3n8v5ECW6pd5uxakq3j3zBZpWM4qby5gFdxZKM/ci51I8nOAOmuswztTLW8hu7RVyFygBRLAkEAwmU9jeVu5oQFqTB+5lYxG80oAOG5mpVSChrbp/nCANGJaqQLAZy5bx0nzL80kPSRv8vervlF7J6YWOY3QUgDOwJAfkP+Ofc4DJGCJ++T1S4xzoT0oF1kEN04+tNQjivlDnviUxmi4JdSp30YSlOvG2GVf1wJ9cHDnuPoQNM8/s0ZtwJAHB9bVVDQx2ZoDz7lzNrBRf1bAS2mlTdu4+lYx6c5KrclgxjyQqxyoyF7pYIvz5yiDTYoI/YJ6J5U+d9sNPR/CwJAflArXOGAsWi41P5WnNeBZ2uNzvy59DW7E52F0mP/v6nXiKxFcxl6hSKySyUx7xU6a9futjv2NJqxdl8Z8ynftw==";
pub(crate) const EC_PKCS8: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQgAthZLZI+XYDXMzjCHc9opx+555cmkKj4+Pqm50V7ehRANCAAT16dIuQ0Rxp1uv0lyAtFxlUiYqPoktdeIyFcOunnuYDFZLYu649nHw0Rm53C5a64zvx1+fozZdiz34tTM9O9mW";
pub(crate) const EC_SEC1: &str = "MHcCAQEEIEIALYWS2SPl2A1zM4wh3PaKcfueeXJpCo+Pj6pudFe3oAoGCCqGSM49AwEHoUQDQgAE9enSLkNEcadbr9JcgLRcZVImKj6JLXXiMhXDrp57mAxWS2LuuPZx8NEZudwuWuuM78dfn6M2XYs9+LUzPTvZlg==";
pub(crate) const ENCRYPTED_PKCS8: &str = "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAg64Ivjy4GkAwICCAAwDAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEELx/DII+B5r351FBkxQ+1KoEgZDbSDLngX03RG0reen4Xem5VCi5ryAA0OG+DeVim8/W5Rdfa3OD+8H8VqF8oXnr54tfXzg54p5cYp3yDcvWC+BI+ML5vhjteyZ1cLRkVmm6EVeO7Z0ZBY+V/q6R7G1INnoTEFdPDz0CVAaou95/dbMh+p0hse+PMHHbRcQKQsgLq+wzKedVNlqqXPGJsf/wUpU=";
pub(crate) const ED25519: &str = "MC4CAQAwBQYDK2VwBCIEICz0z4PJzOX9l9NDs+vmwzBs1ZfPapwsbmkvLcgjUXJV";
pub(crate) const PKCS12: &str = "MIID/AIBAzCCA7IGCSqGSIb3DQEHAaCCA6MEggOfMIIDmzCCAlIGCSqGSIb3DQEHBqCCAkMwggI/AgEAMIICOAYJKoZIhvcNAQcBMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjBMo4iTO0CUgICCAAwDAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEPq0dIyi4PP1mcbWaA/EuCKAggHQi9v9KN6IZ5jdwCmdq21kZkzPNp5PPczYQuYLbwWxVOKvSzlf29vDaS0vr6WbNor9y8MFcIRlXM5THUQHLBD7cfngACuy1nYa3qJGqEN0jIW1hPUZapSG56tyjJaGJk8D9Iy3VoEP9EKfPQJKR8GctHunhNW8dfbUaECp8s3nEhsONt72dNAmufcZudyRdfKJ1RIesdVT0XRlTNgcNvS9GAFQjmx+C8hapvNgr6by9ehR0grSmy+8y7RbQ/PSEjdocOIQGxiIU1NcQagZ4//MaEL9XX3cf3FZPjrbJqaj1vvNI/jGaVq9ODZx/m8QPVqFA9vpdAWfECGCgiLfo4l4a3OsZEI1Gk+eWZmbDYsCXRQWoXT+NixbuGKvLYlK6es0YTacrFeWRe/KgTJ5K02Buuc5yVJPGO5J9rurMZunVA2E1qYJ59oXw0G1HmuUgGm6cvfxI4V0vjY07770y0G+rp7ZOXg/qKgj01QOeAOAH88hGxiLcigePPIMiIGTYjCUkvjTcXUa64fsXI9/BHIcbK0XmWcnWg0ZZMOoqLipBjPxMTpo8G+XP9MSgRs3zIvspiBF+GjNV6gGVFoMAJPuUngajBR7n1rHlEwnHBVSia0wggFBBgkqhkiG9w0BBwGgggEyBIIBLjCCASowggEmBgsqhkiG9w0BDAoBAqCB7zCB7DBXBgkqhkiG9w0BBQ0wSjApBgkqhkiG9w0BBQwwHAQIhESEKJYQ0jMCAggAMAwGCCqGSIb3DQIJBQAwHQYJYIZIAWUDBAEqBBD89vfJvEHWmyZ7NFuJs1vfBIGQ/W8nOUe4S2cWPL6PJIO1FevGVb2BvIbrfi2HCsHSotWova1JdoRyzkH7hdbVLa++wuUFKLTVKoccA3C3arI8AG48xXz+0+YJPeuXE9pLgri+/0QVIdZ8Z/Pfi35SiB6rOAzKPGGZ1SNOPKaCHEvSAXt5JNrzn/2xuVQKWGfoAn9tWniVZ6EdhWTh+Um+JozlMSUwIwYJKoZIhvcNAQkVMRYEFFXM1QgtXEHEMML3/AsuOge6Ww+aMEEwMTANBglghkgBZQMEAgEFAAQgRnQfoGdkA20k77rSC0Nua7eHwQmPXjj0PBVuNmMxQWAECCxMLOFos/IXAgIIAA==";
pub(crate) const CERTIFICATE: &str = "MIIBbjCCAROgAwIBAgIUOgNUsyl1wCLk/I1caeD5gQMT1fMwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBeDAeFw0yNjExMjkwMzUyMzJaFw0yOTA4MjUwMzUyMzJaMAwxCjAIBgNVBAMMAXgwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT16dIuQ0Rxp1uv0lyAtFxlUiYqPoktdeIyFcOunnuYDFZLYu649nHw0Rm53C5a64zvx1+fozZdiz34tTM9O9mWo1MwUTAdBgNVHQ4EFgQU2v0EoWrikL1T9gXTWeKB5p8mP24wHwYDVR0jBBgwFoAU2v0EoWrikL1T9gXTWeKB5p8mP24wDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAtO83Zk0JFmXPsJP2XUgAUhtjkrX8RTCe518KZpL1pHkCIQCyjW6x2uXrYdIU6pKdGYxfjtfuBrVtnklsqOvFZ/2ngg==";
pub(crate) const PUBLIC: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9enSLkNEcadbr9JcgLRcZVImKj6JLXXiMhXDrp57mAxWS2LuuPZx8NEZudwuWuuM78dfn6M2XYs9+LUzPTvZlg==";

const ALNUM: &str = "q7Zk2Xv9Lm4Rt8Bw1Np6Yc3Hs5Jd0FgAeUiOoTzQxMlKjVbCnWrPyDhSfGaEuI";
const HEX: &str = "3f9a0c7be2418d56f07a9bc1e4d2385a60b7f1c9d8e3425a7b6c0f1e9d8a4b3c2";
const UPPER: &str = "Q7ZK2XV4LM5RT3BWANP6YCHSJDFGEUIOTZQXMLKJVBCNWRPYDHSFGAEUIQ7ZK2X";

fn take(letters: &str, count: usize) -> String {
    letters.chars().cycle().take(count).collect()
}
/// This many letters and digits, in both cases.
pub(crate) fn alnum(count: usize) -> String {
    take(ALNUM, count)
}
pub(crate) fn hex(count: usize) -> String {
    take(HEX, count)
}
fn upper(count: usize) -> String {
    take(UPPER, count)
}
fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}
fn wrapped(text: &str, width: usize) -> String {
    let bytes: Vec<char> = text.chars().collect();
    bytes.chunks(width).map(|line| line.iter().collect::<String>() + "\n").collect()
}
pub(crate) fn pem(label: &str, body: &str) -> String {
    format!("-----BEGIN {label}-----\n{}-----END {label}-----\n", wrapped(body, 64))
}
fn zlib(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::ZlibEncoder::new(text.as_bytes(), flate2::Compression::default())
        .read_to_end(&mut out)
        .unwrap();
    out
}
fn xz(text: &str) -> Vec<u8> {
    xz_of(text.as_bytes())
}
pub(crate) fn xz_of(bytes: &[u8]) -> Vec<u8> {
    let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 6);
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}
fn base32(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let digits = bits.as_bytes().chunks(5).map(|five| {
        let five = format!("{:0<5}", std::str::from_utf8(five).unwrap());
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from_str_radix(&five, 2).unwrap()])
    });
    digits.collect()
}
fn hexed(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
fn utf16(text: &str) -> Vec<u8> {
    [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
}
fn kubeconfig(user: &str) -> String {
    format!("apiVersion: v1\nkind: Config\nclusters: []\nusers:\n- name: admin\n  user:\n    {user}\n")
}
fn jwt() -> String {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    format!(
        "{}.{}.{}",
        part(r#"{"alg":"RS256","kid":"x"}"#),
        part(r#"{"iss":"kubernetes/serviceaccount"}"#),
        alnum(86)
    )
}

/// Name of the secret, path of the file, and its bytes.
pub(crate) struct Planted(pub &'static str, pub &'static str, pub Vec<u8>);

fn at(name: &'static str, path: &'static str, text: impl AsRef<[u8]>) -> Planted {
    Planted(name, path, text.as_ref().to_vec())
}
fn p(name: &'static str, text: impl AsRef<[u8]>) -> Planted {
    at(name, "/etc/app/app.conf", text)
}

/// The kinds of the attack's list.
#[rustfmt::skip]
pub(crate) fn listed() -> Vec<Planted> {
    let key = pem("PRIVATE KEY", EC_PKCS8);
    let t = alnum(40);
    let pw = "s3cr3t-Pa55w0rd";
    let config = kubeconfig(&format!("client-key-data: {}", b64(&key)));
    vec![
        p("pem openssh", pem("OPENSSH PRIVATE KEY", &b64([b"openssh-key-v1\0".as_slice(), &[7; 200]].concat()))),
        p("pem rsa", pem("RSA PRIVATE KEY", RSA)),
        p("pem ec", pem("EC PRIVATE KEY", EC_SEC1)),
        p("pem pkcs8", &key),
        p("pem pkcs8 encrypted", pem("ENCRYPTED PRIVATE KEY", ENCRYPTED_PKCS8)),
        p("pem CRLF", key.replace('\n', "\r\n")),
        p("pem one line \\n", format!("key = \"{}\"\n", key.replace('\n', "\\n"))),
        p("pem no newlines", key.replace('\n', "")),
        p("pem indented yaml", format!("a:\n  b: |\n    {}", key.replace('\n', "\n    "))),
        p("pem spaces BEGIN", key.replace("-----BEGIN", "----- BEGIN").replace("KEY-----", "KEY -----")),
        p("pem lowercase", key.replace("BEGIN PRIVATE KEY", "begin private key").replace("END PRIVATE KEY", "end private key")),
        p("pem body only", wrapped(RSA, 64)),
        p("pem unicode dash", key.replace('-', "\u{2013}")),
        p("pem utf16", utf16(&key)),
        p("pem base64 once", format!("k: {}\n", b64(&key))),
        p("pem base64 twice", format!("k: {}\n", b64(b64(&key)))),
        p("pem base64 4x", format!("k: {}\n", b64(b64(b64(b64(&key)))))),
        p("pem base64 wrapped 76", wrapped(&b64(&key), 76)),
        p("pem base64url nopad", format!("k: {}\n", URL_SAFE_NO_PAD.encode(&key))),
        p("pem hex", format!("k: {}\n", hexed(key.as_bytes()))),
        p("pem base32", format!("k: {}\n", base32(key.as_bytes()))),
        p("pem gzip+base64", format!("k: {}\n", b64(gzip(&key)))),
        p("pem gz in dataurl text", format!("source: \"data:;base64,{}\"\n", b64(gzip(&key)))),
        p("pem zlib b64", format!("k: {}\n", b64(zlib(&key)))),
        p("pem xz b64", format!("k: {}\n", b64(xz(&key)))),
        p("pem percent", key.replace('-', "%2D").replace(' ', "%20").replace('\n', "%0A")),
        p("der rsa base64", format!("k: {RSA}\n")),
        p("der pkcs8 base64", format!("k: {EC_PKCS8}\n")),
        p("pkcs12 base64", format!("k: {PKCS12}\n")),
        p("ppk", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n"),
        p("ssh2", format!("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: \"x\"\n{}---- END SSH2 ENCRYPTED PRIVATE KEY ----\n", wrapped(RSA, 64))),
        p("pgp priv", format!("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{}=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n", wrapped(RSA, 64))),
        p("jwk private", format!("{{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"{}\",\"y\":\"{}\",\"d\":\"{}\"}}\n", alnum(43), alnum(43), alnum(43))),
        p("jwk oct", format!("{{\"kty\":\"oct\",\"k\":\"{}\"}}\n", alnum(43))),
        p("age", format!("# created: x\nAGE-SECRET-KEY-1{}\n", upper(58))),
        p("age plugin", format!("AGE-PLUGIN-TPM-1{}\n", upper(60))),
        p("minisign", format!("untrusted comment: minisign encrypted secret key\nRWRTY0Iy{}\n", alnum(204))),
        p("signify", format!("untrusted comment: signify secret key\nRWRCSwAA{}\n", alnum(132))),
        p("wireguard netdev", format!("[WireGuard]\nPrivateKey={}=\n", alnum(43))),
        p("wg preshared", format!("[Peer]\nPresharedKey = {}=\n", alnum(43))),
        at("wg raw key file", "/etc/wireguard/private.key", format!("{}=\n", alnum(43))),
        p("kubeconfig", &config),
        p("kubeconfig gz b64", format!("k: {}\n", b64(gzip(&config)))),
        p("kubeconfig dataurl gz", format!("source: data:;base64,{}\n", b64(gzip(&config)))),
        p("kubeconfig json", format!("{{\"kind\":\"Config\",\"users\":[{{\"name\":\"a\",\"user\":{{\"client-key-data\":\"{}\"}}}}]}}\n", b64(&key))),
        p("kubeconfig token", kubeconfig(&format!("token: {t}"))),
        p("kubeconfig exec env", kubeconfig(&format!("exec:\n      env:\n      - name: LOGIN_TOKEN\n        value: {t}"))),
        p("kubeadm join", "kubeadm join 10.0.0.1:6443 --token abcdef.0123456789abcdef \\\n  --discovery-token-unsafe-skip-ca-verification\n"),
        p("kubeadm token env", "KUBEADM_TOKEN=abcdef.0123456789abcdef\n"),
        p("kubeadm bare", "abcdef.0123456789abcdef\n"),
        p("kubeadm certkey", format!("kubeadm join --certificate-key {}\n", hex(64))),
        p("certificateKey yaml", format!("controlPlane:\n  certificateKey: {}\n", hex(64))),
        p("k3s token", format!("K10{}::server:{}\n", hex(64), hex(32))),
        p("k3s env", format!("K3S_TOKEN={t}\n")),
        p("rke2 config", format!("server: https://rke2.example:9345\ntoken: {t}\n")),
        p("k8s Secret data", format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\ndata:\n  key: {}\n", b64("correct horse"))),
        p("k8s Secret stringData", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\nstringData:\n  word: correct horse\n"),
        p("k8s Secret dockerconfigjson", format!("apiVersion: v1\nkind: Secret\ntype: kubernetes.io/dockerconfigjson\ndata:\n  .dockerconfigjson: {}\n", b64(format!("{{\"auths\":{{\"r.io\":{{\"auth\":\"{}\"}}}}}}", b64("me:pass"))))),
        p("encryptionconfig", format!("kind: EncryptionConfiguration\nresources:\n- providers:\n  - secretbox:\n      keys:\n      - name: k\n        secret: {}\n", b64([7; 32]))),
        at("static token csv", "/etc/kubernetes/tokens.csv", format!("{},admin,1,\"system:masters\"\n", hex(32))),
        p("jwt sa", jwt()),
        p("aws id+secret", format!("aws_access_key_id = AKIA{}\naws_secret_access_key = {}\n", upper(16), alnum(40))),
        p("aws secret only env", format!("AWS_SECRET_ACCESS_KEY={}\n", alnum(40))),
        p("aws secret json", format!("{{\"SecretAccessKey\": \"{}\"}}\n", alnum(40))),
        p("aws session token", format!("AWS_SESSION_TOKEN=IQoJb3JpZ2luX2VjE{}\n", alnum(300))),
        p("aws id only", format!("id: AKIA{}\n", upper(16))),
        p("gcp sa json", format!("{{\"type\": \"service_account\", \"private_key_id\": \"{}\", \"private_key\": \"{}\"}}\n", hex(40), key.replace('\n', "\\n"))),
        p("gcp api key", format!("key: AIza{}\n", alnum(35))),
        p("gcp oauth ya29", format!("ya29.{}\n", alnum(60))),
        p("gcp oauth client", format!("GOCSPX-{}\n", alnum(28))),
        p("azure storage", format!("DefaultEndpointsProtocol=https;AccountName=x;AccountKey={}==;EndpointSuffix=core.windows.net\n", alnum(86))),
        p("azure sas", format!("https://x.blob.core.windows.net/c?sv=2022-11-02&se=2027-01-01&sr=c&sp=r&sig={}%3D\n", alnum(43))),
        p("azure client secret", format!("AZURE_CLIENT_SECRET={}8Q~{}\n", alnum(3), alnum(34))),
        p("azure sp json", format!("{{\"clientId\": \"1\", \"clientSecret\": \"{}\"}}\n", alnum(34))),
        p("digitalocean", format!("dop_v1_{}\n", hex(64))),
        p("hetzner env", format!("HCLOUD_TOKEN={}\n", alnum(64))),
        p("cloudflare env", format!("CLOUDFLARE_API_TOKEN={t}\n")),
        p("linode env", format!("LINODE_TOKEN={}\n", hex(64))),
        p("vultr env", format!("VULTR_API_KEY={}\n", upper(36))),
        p("openstack clouds.yaml", format!("clouds:\n  x:\n    auth:\n      auth_url: https://k.example:5000\n      username: me\n      password: {pw}\n")),
        p("vault hvs", format!("hvs.{}\n", alnum(95))),
        p("vault s.", format!("VAULT_TOKEN=s.{}\n", alnum(24))),
        p("tailscale", format!("tskey-auth-{}-{}\n", alnum(12), alnum(32))),
        p("consul", "CONSUL_HTTP_TOKEN=8f246b77-f3e1-ff88-5b48-8ec93abf3e05\n"),
        p("github pat", format!("ghp_{}\n", alnum(36))),
        p("github fine", format!("github_pat_{}_{}\n", alnum(22), alnum(59))),
        p("github app", format!("ghs_{}\n", alnum(36))),
        p("gitlab pat", format!("glpat-{}\n", alnum(20))),
        p("gitlab runner", format!("glrt-{}\n", alnum(20))),
        p("gitlab deploy", format!("gldt-{}\n", alnum(20))),
        p("gitlab runner old", format!("GR1348941{}\n", alnum(20))),
        p("slack bot", format!("xoxb-{}-{}-{}\n", "123456789012", "1234567890123", alnum(24))),
        p("slack hook", format!("https://hooks.slack.com/services/T{}/B{}/{}\n", upper(8), upper(8), alnum(24))),
        p("discord", format!("https://discord.com/api/webhooks/123456789012345678/{}\n", alnum(68))),
        p("telegram", format!("bot: 123456789:AA{}\n", alnum(33))),
        p("stripe", format!("sk_live_{}\n", alnum(24))),
        p("npm", format!("//r.example/:_authToken=npm_{}\n", alnum(36))),
        p("pypi", format!("pypi-AgEIcHlwaS5vcmc{}\n", alnum(80))),
        p("dockerhub pat", format!("dckr_pat_{}\n", alnum(27))),
        p("hf", format!("hf_{}\n", alnum(34))),
        p("openai", format!("sk-proj-{}\n", alnum(48))),
        p("anthropic", format!("sk-ant-api03-{}\n", alnum(95))),
        p("grafana", format!("glsa_{}_{}\n", alnum(32), hex(8))),
        p("grafana cloud", format!("glc_{}\n", alnum(60))),
        p("datadog env", format!("DD_API_KEY={}\n", hex(32))),
        p("newrelic", format!("NRAK-{}\n", upper(27))),
        p("sentry dsn", format!("https://{}@o123.ingest.sentry.io/1\n", hex(32))),
        p("terraform cloud", format!("{}.atlasv1.{}\n", alnum(14), alnum(67))),
        p("pulumi", format!("pul-{}\n", hex(40))),
        p("netbird", format!("nbp_{}\n", alnum(36))),
        p("doppler", format!("dp.pt.{}\n", alnum(43))),
        p("1password", format!("ops_eyJ{}\n", alnum(200))),
        p("sops age file", format!("# public key: age1x\nAGE-SECRET-KEY-1{}\n", upper(58))),
        p("docker auth", format!("{{\"auths\":{{\"r.io\":{{\"auth\":\"{}\"}}}}}}\n", b64("me:pass"))),
        p("containerd toml", format!("[plugins.\"x\".registry.configs.\"r.io\".auth]\n  username = \"me\"\n  password = \"{pw}\"\n")),
        p("containerd toml auth", format!("[plugins.\"x\".registry.configs.\"r.io\".auth]\n  auth = \"{}\"\n", b64("me:pass"))),
        p("hosts.toml header", format!("server = \"https://r.io\"\n[host.\"https://m.example\".header]\n  Authorization = [\"Basic {}\"]\n", b64("me:s3cr3t"))),
        p("crio auth", format!("{{\"auths\":{{\"r.io\":{{\"username\":\"me\",\"password\":\"{pw}\"}}}}}}\n")),
        at("netrc", "/root/.netrc", format!("machine h.example login me password {pw}\n")),
        at("pgpass", "/root/.pgpass", format!("db.example:5432:*:me:{pw}\n")),
        p("my.cnf", format!("[client]\nuser=root\npassword={pw}\n")),
        p("git-credentials", format!("https://me:{t}@git.example\n")),
        p("proxy url", format!("http_proxy=http://me:{pw}@p.example:3128/\n")),
        p("postgres url", format!("postgres://me:{pw}@db/x\n")),
        p("redis url no user", format!("redis://:{pw}@h:6379/0\n")),
        p("mongodb srv", format!("mongodb+srv://me:{pw}@c.example/x\n")),
        p("url user only", format!("https://{t}@git.example/x.git\n")),
        p("url token query", format!("https://h.example/x?token={t}&y=1\n")),
        p("htpasswd", "me:$apr1$Zs3k1vbn$8JWu5vGVcl5x1cQZ4bVq10\n"),
        at("shadow", "/etc/shadow", format!("core:$6$rounds=4096$Zs3k1vbn$${}:19000:0:99999:7:::\n", alnum(86)).replace("$$", "$")),
        p("wpa psk", format!("network={{\n  ssid=\"x\"\n  psk=\"{pw}\"\n}}\n")),
        p("nm keyfile", format!("[wifi-security]\nkey-mgmt=wpa-psk\npsk={pw}\n")),
        at("ipsec.secrets", "/etc/ipsec.secrets", format!("10.0.0.1 10.0.0.2 : PSK \"{pw}\"\n")),
        at("chap", "/etc/ppp/chap-secrets", format!("client server {pw} *\n")),
        p("iscsi", format!("node.session.auth.password = {pw}\n")),
        p("snmp", format!("createUser monitor SHA {pw} AES {pw}\n")),
        p("bmc ipmi", format!("ipmitool -I lanplus -H 10.0.0.9 -U ADMIN -P {pw} power on\n")),
        p("mysql cli", format!("mysql -u root -p{pw} -e 'select 1'\n")),
        p("curl -u", format!("curl -fsS -u me:{pw} https://h.example/x\n")),
        p("curl bearer", format!("curl -H \"Authorization: Bearer {t}\" https://h.example/x\n")),
        p("sshpass", format!("sshpass -p {pw} ssh me@h\n")),
        p("env PASSWORD", format!("DB_PASSWORD={pw}\n")),
        p("env SECRET_KEY", format!("SECRET_KEY={t}\n")),
        p("yaml password", format!("db:\n  password: {pw}\n")),
        p("ansible vault", "$ANSIBLE_VAULT;1.1;AES256\n62313365396662343061393464336163\n"),
        at("luks keyfile", "/etc/cryptsetup-keys.d/data.key", alnum(64)),
        p("ceph keyring", format!("[client.admin]\n\tkey = AQ{}==\n", alnum(36))),
        p("etcd basic", format!("etcdctl --user root:{pw} get x\n")),
        p("rndc", format!("key \"rndc-key\" {{\n  algorithm hmac-sha256;\n  secret \"{}=\";\n}};\n", alnum(43))),
        p("keytab b64", format!("k: {}\n", b64([&[5, 2, 0, 0, 0, 0x4a, 0, 1, 0, 11][..], b"EXAMPLE.ORG", &[9; 60]].concat()))),
        p("jks b64", format!("k: {}\n", b64([&[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2][..], &[9; 80]].concat()))),
        p("tang jwk", format!("{{\"alg\":\"ES512\",\"crv\":\"P-521\",\"d\":\"{}\",\"key_ops\":[\"sign\",\"verify\"],\"kty\":\"EC\",\"x\":\"{}\"}}\n", alnum(88), alnum(88))),
        p("keys", format!("{{\"keys\":[{{\"kty\":\"RSA\",\"n\":\"{}\",\"e\":\"AQAB\",\"d\":\"{}\"}}]}}\n", alnum(342), alnum(342))),
        p("frp token", format!("[auth]\nmethod = \"token\"\ntoken = \"{t}\"\n")),
        p("borg", "BORG_PASSPHRASE='correct horse battery staple'\n"),
        p("restic", format!("RESTIC_PASSWORD={pw}\n")),
        p("systemd SetCredential", format!("[Service]\nSetCredential=db.password:{pw}\n")),
        p("ignition-auth hdr", format!("http_headers:\n  - name: Authorization\n    value: Basic {}\n", b64("me:s3cr3t"))),
    ]
}

/// Siblings: other vendors, shells and formats.
#[rustfmt::skip]
pub(crate) fn siblings() -> Vec<Planted> {
    let key = pem("PRIVATE KEY", EC_PKCS8);
    let t = alnum(40);
    let pw = "s3cr3t-Pa55w0rd";
    vec![
        p("ed25519 DER", format!("k: {ED25519}\n")),
        p("SEC 1 DER", format!("k: {EC_SEC1}\n")),
        p("encrypted PKCS 8 DER", format!("k: {ENCRYPTED_PKCS8}\n")),
        at("DER as a file", "/etc/ssl/site.der", STANDARD.decode(EC_PKCS8).unwrap()),
        at("PKCS 12 as a file", "/etc/ssl/site.p12", STANDARD.decode(PKCS12).unwrap()),
        p("zstd in base64", format!("k: {}\n", b64(zstd::encode_all(key.as_bytes(), 3).unwrap()))),
        at("xz as a file", "/etc/site.key.xz", xz(&key)),
        p("base64 of UTF-16", format!("powershell -EncodedCommand {}\n", b64(utf16(&format!("$env:DB_PASSWORD = '{pw}'"))))),
        p("JSON in JSON", format!("{{\"a\": \"{{\\\"auths\\\":{{\\\"r.io\\\":{{\\\"auth\\\":\\\"{}\\\"}}}}}}\"}}\n", b64("me:pass"))),
        p("escapes of JSON", format!("{{\"a\": \"{}\"}}\n", key.replace('-', "\\u002d").replace('\n', "\\n"))),
        p("lines in a string of JSON", format!("{{\"contents\": \"kind: Secret\\nstringData:\\n  a: {pw}\\n\"}}\n")),
        p("hex wrapped", wrapped(&hexed(key.as_bytes()), 60)),
        p("base64 in a here-document", format!("base64 -d <<EOF >/etc/key\n{}EOF\n", wrapped(&b64(&key), 76))),
        p("base64 of DER, wrapped in YAML", format!("key: |\n  {}\n", wrapped(RSA, 64).replace('\n', "\n  "))),
        p("Secret in JSON", format!("{{\"apiVersion\":\"v1\",\"data\":{{\"a\":\"{}\"}},\"kind\":\"Secret\"}}\n", b64("correct horse"))),
        p("Secret in JSON over lines", "{\n  \"kind\": \"Secret\",\n  \"stringData\": {\n    \"a\": \"correct horse\"\n  }\n}\n"),
        p("Secret in a list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  stringData:\n    a: hunter22\n"),
        p("Secret behind its data", format!("apiVersion: v1\ndata:\n  a: {}\nkind: Secret\n", b64("hunter22"))),
        p("Secret with a block", "kind: Secret\nstringData:\n  conf: |\n    line one\n    line two\n"),
        p("Secret in flow style", format!("kind: Secret\ndata: {{a: {}}}\n", b64("hunter22"))),
        p("Environment of a unit", format!("[Service]\nEnvironment=\"A=1\" \"DB_PASSWORD={pw}\"\n")),
        p("Environment bare", format!("[Service]\nEnvironment=API_TOKEN={t} A=1\n")),
        p("export", format!("export GRAFANA_ADMIN_PASSWORD={pw}\n")),
        p("fish", format!("set -gx DEPLOY_TOKEN {t}\n")),
        p("csh", format!("setenv DB_PASSWORD {pw}\n")),
        p("PowerShell", format!("$env:API_KEY = \"{t}\"\n")),
        p("cmd", format!("set API_KEY={t}\r\n")),
        p("Dockerfile ENV", format!("FROM x\nENV DB_PASSWORD {pw}\n")),
        p("docker -e", format!("docker run -e POSTGRES_PASSWORD={pw} postgres\n")),
        p("compose map", format!("services:\n  db:\n    environment:\n      POSTGRES_PASSWORD: {pw}\n")),
        p("compose list", format!("services:\n  db:\n    environment:\n      - POSTGRES_PASSWORD={pw}\n")),
        p("pod's env", format!("env:\n- name: DB_PASSWORD\n  value: \"{pw}\"\n")),
        p("pod's env in JSON", format!("{{\"env\": [{{\"name\": \"DB_PASSWORD\", \"value\": \"{pw}\"}}]}}\n")),
        p("TOML", format!("[database]\npassword = '{pw}'\n")),
        p("INI", format!("[mail]\nsmtp_password : {pw}\n")),
        p("XML", format!("<server>\n  <password>{pw}</password>\n</server>\n")),
        p("XML key and value", format!("<add key=\"DbPassword\" value=\"{pw}\"/>\n")),
        p("properties", format!("spring.datasource.password={pw}\n")),
        p("HCL", format!("provider \"x\" {{\n  api_token = \"{t}\"\n}}\n")),
        p("Python", format!("API_KEY = \"{t}\"\n")),
        p("Ruby", format!("config[:password] = '{pw}'\n")),
        p("PHP", format!("$conf['db_password'] = '{pw}';\n")),
        p("PHP array", format!("'password' => '{pw}',\n")),
        p("value in the next line", format!("password: >-\n  {pw}\n")),
        p("flag", format!("k3s agent --token {t}\n")),
        p("flag joined", format!("x --password={pw}\n")),
        p("header of a table", format!("[headers]\nX-Auth-Token = \"{t}\"\n")),
        p("wget header", format!("wget --header='X-Vault-Token: {t}' https://h.example\n")),
        p("header of nginx", format!("proxy_set_header Authorization \"Basic {}\";\n", b64("me:s3cr3t"))),
        p("cookie", format!("curl -H 'Cookie: session={t}' https://h.example\n")),
        p("netrc over lines", format!("machine h.example\n  login me\n  password {pw}\n")),
        p("pgpass elsewhere", format!("localhost:5432:app:me:{pw}\n")),
        p("token in git URL", format!("git+https://{t}:x-oauth-basic@git.example/x\n")),
        p("ssh URL with a password", format!("sftp://me:{pw}@h.example/x\n")),
        p("amqp", format!("amqps://me:{pw}@mq.example/v\n")),
        p("ldap", format!("bindpw {pw}\nldap_bind_password = {pw}\n")),
        p("redis.conf", format!("requirepass {pw}\n")),
        p("keepalived", "authentication {\n  auth_type PASS\n  auth_pass k33pal1v\n}\n"),
        p("FRR", format!("neighbor 10.0.0.1 password {pw}\n")),
        p("consul gossip", format!("{{\"encrypt\": \"{}=\"}}\n", alnum(43))),
        p("nomad gossip", format!("server {{\n  encrypt = \"{}=\"\n}}\n", alnum(43))),
        p("cloud-init password", format!("#cloud-config\npassword: {pw}\nchpasswd: {{expire: false}}\n")),
        p("cloud-init list", format!("#cloud-config\nchpasswd:\n  list: |\n    root:{pw}\n")),
        p("cloud-init users", format!("#cloud-config\nchpasswd:\n  users:\n  - {{name: root, password: {pw}, type: text}}\n")),
        p("cloud-init plain_text_passwd", format!("users:\n- name: x\n  plain_text_passwd: {pw}\n")),
        p("chpasswd in a script", format!("echo 'root:{pw}' | chpasswd\n")),
        p("docker login", format!("docker login -u me -p {pw} r.io\n")),
        p("login by stdin", format!("echo {pw} | podman login --password-stdin -u me r.io\n")),
        p("kubectl create secret", format!("kubectl create secret generic x --from-literal=a={pw}\n")),
        p("openssl pass", format!("openssl rsa -in k.pem -passin pass:{pw}\n")),
        p("shadow of DES", "root:abJnggxhB/yWI:19000:0:99999:7:::\n"),
        p("yescrypt", format!("root:$y$j9T${}${}:19000::::::\n", alnum(22), alnum(43))),
        p("LDAP hash", format!("userPassword: {{SSHA}}{}\n", alnum(40))),
        p("GRUB hash", format!("password_pbkdf2 root grub.pbkdf2.sha512.10000.{}.{}\n", hex(128), hex(128))),
        p("bcrypt doubled", "basicauth=me:$2y$05$Zs3k1vbn8JWu5vGVcl5x1cQZ4bVq10Zs3k1vbn8JWu5vGVcl5x1c\n"),
        p("SCRAM", format!("SCRAM-SHA-256$4096:{}$x:{}\n", alnum(24), alnum(44))),
        at("token as a file", "/etc/rancher/k3s/token", format!("{t}\n")),
        at("password as a file", "/run/secrets/db_password", "hunter22\n"),
        at("passphrase as a file", "/etc/borg/passphrase.txt", format!("{pw}\n")),
        p("OpenVPN static key", format!("-----BEGIN OpenVPN Static key V1-----\n{}-----END OpenVPN Static key V1-----\n", wrapped(&hex(512), 32))),
        p("NATS seed", format!("SUA{}\n", upper(55))),
        p("presigned URL", format!("https://b.s3.amazonaws.com/x?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature={}\n", hex(64))),
        p("SendGrid", format!("SG.{}.{}\n", alnum(22), alnum(43))),
        p("Shopify", format!("shpat_{}\n", hex(32))),
        p("Databricks", format!("dapi{}\n", hex(32))),
        p("Linear", format!("lin_api_{}\n", alnum(40))),
        p("Fly.io", format!("fo1_{}\n", alnum(43))),
        p("Supabase", format!("sbp_{}\n", hex(40))),
        p("GitLab CI job", format!("glcbt-64_{}\n", alnum(20))),
        p("GitHub refresh", format!("ghr_{}\n", alnum(76))),
        p("Slack app", format!("xapp-1-{}-{}\n", upper(11), alnum(64))),
        p("Sentry token", format!("sntryu_{}\n", hex(64))),
        p("Buildkite", format!("bkua_{}\n", hex(40))),
        p("Groq", format!("gsk_{}\n", alnum(52))),
        p("Entra secret alone", format!("{}8Q~{}\n", alnum(3), alnum(34))),
        p("Alertmanager", format!("receivers:\n- slack_configs:\n  - api_url: https://hooks.slack.com/services/T{}/B{}/{}\n", upper(8), upper(8), alnum(24))),
        p("Alertmanager password", format!("global:\n  smtp_auth_password: '{pw}'\n")),
        p("Traefik env", format!("CF_DNS_API_TOKEN={t}\n")),
        p("Laravel", format!("APP_KEY=base64:{}=\n", alnum(43))),
        p("Rails", format!("secret_key_base: {}\n", hex(128))),
        p("Django", "SECRET_KEY = 'django-insecure-0#x8k!v2m@q9w4z7'\n"),
        p("MinIO", format!("MINIO_ROOT_PASSWORD={pw}\n")),
        p("RKE2 short token", "token: 7f3a91c2d4b8e605::s3cr3t\n"),
        p("kernel argument", format!("rd.iscsi.password={pw} console=ttyS0\n")),
        p("credential of the kernel", format!("systemd.set_credential=db.password:{pw}\n")),
    ]
}

/// Secrets that a second break run found missing (note of issue 15), and their siblings: passphrases, other
/// punctuation, commands, small formats. None can be recognised by digits.
#[rustfmt::skip]
pub(crate) fn others() -> Vec<Planted> {
    let word = "OpenSesameNow";
    vec![
        p("passphrase of words", "passphrase: correct horse battery staple\n"),
        p("password of words", "password: correct horse battery staple\n"),
        p("password of words in INI", "password = purple monkey dishwasher\n"),
        p("psk of words", "psk=blue river under bridge\n"),
        p("passphrase of two words in quotes", "wifi:\n  psk: \"blue river\"\n"),
        p("passphrase with small words", "passphrase: \"the cat is on a mat\"\n"),
        p("env of words", "RESTIC_PASSWORD='correct horse battery staple'\n"),
        p("$ in single quotes", "DB_PASSWORD='$ecretWords'\n"),
        p("$ in double quotes", "password: \"$ecr3t!Pa55\"\n"),
        p("%", "password: \"%ecretwords\"\n"),
        p("@", "password: \"@Secret123\"\n"),
        p("!", "password: \"!Secret123x\"\n"),
        p("<", "password: \"<Secret123x\"\n"),
        p("&", "password: '&Secret123x'\n"),
        p("* in JSON", "{\"password\": \"*Secret123x\"}\n"),
        at("K3s config", "/etc/rancher/k3s/config.yaml", "server: https://10.0.0.1:6443\ntoken: mysharedtoken\n"),
        at("K3s agent's token", "/etc/rancher/k3s/config.yaml.d/a.yaml", "agent-token: ourtoken\n"),
        at("RKE2 quoted", "/etc/rancher/rke2/config.yaml", "token: \"sharedword\"\n"),
        at("K3s token as a file", "/etc/rancher/k3s/cluster-token", "mysharedtoken\n"),
        p("K3S_TOKEN", "K3S_TOKEN=mysharedtoken\n"),
        p("K3S_TOKEN exported", "export K3S_TOKEN=sharedword\n"),
        p("RKE2_AGENT_TOKEN", "RKE2_AGENT_TOKEN=\"sharedword\"\n"),
        p("k3s --token", "k3s agent --server https://10.0.0.1:6443 --token sharedword\n"),
        p("k3s --token=", "ExecStart=/usr/local/bin/k3s server --token=sharedword\n"),
        p("k3s -t", "k3s agent -t sharedword\n"),
        p("kubeadm token create", "kubeadm token create nmdrvu.tn55n5hv6ko106qs --ttl 0\n"),
        p("curl -sSu", format!("curl -sSu admin:{word} https://h.example\n")),
        p("curl -u short", "curl -sSu a:pw https://h.example\n"),
        p("curl -uX", format!("curl -uadmin:{word} https://h.example\n")),
        p("chpasswd <<<", format!("chpasswd <<< \"root:{word}\"\n")),
        p("chpasswd <<<joined", format!("chpasswd <<<'root:{word}'\n")),
        p("chpasswd <<EOF", format!("chpasswd <<EOF\nroot:{word}\nEOF\n")),
        p("cat | chpasswd", format!("cat <<'EOF' | chpasswd -c SHA512\ncore:{word}\nEOF\n")),
        p("echo | chpasswd", format!("echo core:{word} | chpasswd\n")),
        p("printf | chpasswd", format!("printf '%s\\n' 'core:{word}' | sudo chpasswd\n")),
        p("echo | sudo -S", format!("echo {word} | sudo -S systemctl restart x\n")),
        p("echo | sudo -kS", format!("echo '{word}' | sudo -kS true\n")),
        p("echo | cryptsetup", format!("echo -n {word} | cryptsetup luksFormat /dev/vdb -\n")),
        p("cryptsetup <<<", format!("cryptsetup open /dev/vdb data - <<< {word}\n")),
        p("passwd --stdin", format!("echo {word} | passwd --stdin core\n")),
        p("vault login", "vault login sesamesesame\n"),
        p("vault login userpass", format!("vault login -method=userpass username=me password={word}\n")),
        p("VAULT_TOKEN", "VAULT_TOKEN=s.abcdefGHIJKLmnopqrstuvwx\n"),
        p("mount -o", format!("mount -t cifs //srv/share /mnt -o username=me,password={word}\n")),
        p("fstab", format!("//srv/share /mnt cifs username=me,password={word},uid=1000 0 0\n")),
        p("credentials of cifs", format!("username=me\npassword={word}\ndomain=x\n")),
        p(".NET", format!("Server=db;Database=x;User Id=sa;Password={word};\n")),
        p("Pwd=", format!("Driver={{SQL}};Server=db;Uid=sa;Pwd={word};\n")),
        p("pwd=", format!("pwd={word}\n")),
        p(".NET in JSON", format!("{{\"ConnectionStrings\": {{\"Default\": \"Server=db;User Id=sa;Password={word};Encrypt=True\"}}}}\n")),
        p("PHP define", format!("define('DB_PASSWORD', '{word}');\n")),
        p("PHP define in double quotes", format!("define( \"DB_PASSWORD\", \"{word}\" );\n")),
        at("chrony.keys", "/etc/chrony.keys", format!("1 SHA256 ASCII:{word}\n")),
        at("chrony.keys in hex", "/etc/chrony/chrony.keys", format!("10 SHA256 HEX:{}\n", upper(64))),
        at("chrony.keys without a kind", "/etc/chrony.keys", format!("20 {word}\n")),
        at("ntp.keys", "/etc/ntp.keys", format!("1 M {word}\n")),
        at("pap-secrets", "/etc/ppp/pap-secrets", format!("\"user\" * \"{word}\" *\n")),
        at("chap-secrets", "/etc/ppp/chap-secrets", format!("client server {word} *\n")),
        p("HAProxy stats", format!("    stats auth admin:{word}\n")),
        p("HAProxy user", format!("    user tiger insecure-password {word}\n")),
        p("Redis ACL", format!("user app on >{word} ~* +@all\n")),
        p("wpa_supplicant", format!("network={{\n  ssid=\"x\"\n  psk=\"{word}\"\n}}\n")),
        p("wpa_passphrase", format!("wpa_passphrase home {word}\n")),
        p("NetworkManager", format!("[wifi-security]\npsk={word}\n")),
        p("NetworkManager 802.1X", format!("[802-1x]\npassword={word}\n")),
        p("my.cnf", format!("[client]\npassword={word}\n")),
        at("netrc", "/root/.netrc", format!("machine h.example login me password {word}\n")),
        at("pgpass", "/root/.pgpass", format!("db:5432:*:me:{word}\n")),
        p("SQL", format!("CREATE USER 'me'@'%' IDENTIFIED BY '{word}';\n")),
        p("lftp", format!("lftp -u me,{word} sftp://h.example\n").replace(',', ":")),
        p("7z", format!("7z x -p{word} a.7z\n")),
        p("skopeo --src-creds", format!("skopeo copy --src-creds me:{word} a b\n")),
        p("WireGuard", format!("PrivateKey = {}=\n", alnum(43))),
        p("kubeconfig password", format!("kind: Config\nusers:\n- user:\n    password: {word}\n")),
        p("behind 2 KiB of words", format!("{} curl -u me:{word} https://h.example\n", "word ".repeat(1000))),
        p("behind a public entry", format!("kind: Secret\nstringData:\n  namespace: x\n  type: git\n  url: https://me:{word}@h.example\n")),
        p("in a Secret beside public entries", format!("kind: Secret\nstringData:\n  type: git\n  password: {word}\n")),
    ]
}

/// Secrets that a second break run on the scanner found missing, and their siblings.
#[rustfmt::skip]
pub(crate) fn missed() -> Vec<Planted> {
    let word = "OpenSesameNow";
    let mut planted = vec![
        p("PASSWORD_1", "PASSWORD_1=hunterXYZ12\n"),
        p("password2", "password2: hunterXYZ12\n"),
        p("DB_PASSWORD_PROD", format!("DB_PASSWORD_PROD={word}\n")),
        p("db-password-prod", "db-password-prod: hunterXYZ12\n"),
        p("TOKEN_2", "TOKEN_2=q7Zk2Xv9Lm4Rt8Bw\n"),
        p("apiKeyNew1", "api_key_new_1: q7Zk2Xv9Lm4Rt8Bw\n"),
        p("secret2 in JSON", "{\"secret2\": \"q7Zk2Xv9Lm4Rt8Bw\"}\n"),
        p("bracket", "DB_PASSWORD=Zk2(XqLm77w\n"),
        p("bracket in the middle", "DB_PASSWORD=Zk2[X]qLm77w\n"),
        p("bracket in YAML", "password: Zk2{XqLm77w\n"),
        p("bracket of a token", "API_TOKEN=Zk2)XqLm77w\n"),
        p("; in YAML", "password: a1;Zk2XqLm\n"),
        p("& in a variable", "DB_PASSWORD=q7&Zk2Xv9\n"),
        p("kind with a remark", format!("kind: Secret # of the database\ndata:\n  a: {}\n", b64("hunter22"))),
        p("%21 in a URL", "postgres://app:%21Zk2XqLm@db/x\n"),
        p("--password=", "x --password=correcthorse --verbose\n"),
        p("--docker-password=", "kubectl create secret docker-registry x --docker-username=me --docker-password=correcthorse --docker-email=a@b\n"),
        p("helm --set", "helm install x chart --set auth.password=correcthorse --wait\n"),
        p("helm --set of many", "helm install x chart --set auth.user=me,auth.password=correcthorse --wait\n"),
        p("helm --set-string", "helm upgrade x chart --set-string auth.rootPassword=correcthorse -n y\n"),
        p("--from-literal with a blank", format!("kubectl create secret generic x --from-literal a={word}\n")),
        p("--from-literal of a user's password", format!("kubectl create secret generic x --from-literal=password={word}\n")),
        p("cryptsetup <<EOF", format!("cryptsetup luksFormat /dev/vdb - <<EOF\n{word}\nEOF\n")),
        p("sudo -S <<EOF", format!("sudo -S systemctl restart x <<'EOF'\n{word}\nEOF\n")),
        p("passwd --stdin <<EOF", format!("passwd --stdin core <<-EOF\n\t{word}\n\tEOF\n")),
        p("cat <<EOF | cryptsetup", format!("cat <<EOF | cryptsetup open /dev/vdb data -\n{word}\nEOF\n")),
        p("echo | in quotes of YAML", format!("command: \"echo {word} | sudo -S true\"\n")),
        p("echo in sh -c", format!("sh -c 'echo \"{word}\" | cryptsetup open /dev/vdb data -'\n")),
        p("echo behind another", format!("echo starting; echo {word} | sudo -S true\n")),
        p("echo with ; in quotes", "echo 'Open;Sesame1' | sudo -S true\n"),
        p("IDENTIFIED BY in its own line", format!("CREATE USER app\n  IDENTIFIED BY '{word}';\n")),
        p("GRANT", format!("GRANT ALL ON *.* TO 'a'@'%' IDENTIFIED BY '{word}';\n")),
        p("mysql -p", "mysql -produkt7Zk2\n"),
    ];
    for text in ["$ecret123", "!ecret123", "@ecret123", "%ecret123", "&ecret123", "*ecret123", "<ecret123"] {
        planted.push(p("decoded sign", format!("kind: Secret\ndata:\n  a: {}\n", b64(text))));
    }
    planted
}
