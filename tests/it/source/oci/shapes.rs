//! What registries, token services and credential files look like outside of the specification. Each case is a shape and what
//! must come of it; real skopeo is the judge of what a client can make of it: what it pulls, we pull.

use std::fs;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{PASSWORD, USER, auths, docker_config, lock, world};
use crate::judges::containerd::there_is;
use crate::world::registry::{Builder, Fault, Login, Pushed, Registry, Request, basic};
use crate::world::{Run, World};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What a registry's token service would grant.
const GRANT: &str = "tok-repository:pause:pull";

/// What must come of it: a lock, or an exit code and words.
type Outcome = Result<(), (i32, &'static [&'static str])>;

/// Locks `HOST/pause:3.10` with these variables.
fn locks(world: &World, registry: &Registry, variables: &[(&str, String)]) -> Run {
    let recipe = format!("images: ['{}/pause:3.10']\nsysexts:", registry.host());
    if !fs::read_to_string(world.path("recipes/small.yaml")).unwrap().contains("images:") {
        world.edit("recipes/small.yaml", "sysexts:", &recipe);
    }
    let mut command = world.command(&["lock", "recipes/small.yaml"]);
    Run::of(command.envs(variables.iter().map(|(name, value)| (*name, value))).output().unwrap())
}

/// Whether skopeo reads the image for amd64.
fn skopeo(registry: &Registry, variables: &[(&str, String)]) -> bool {
    let mut command = Command::new("skopeo");
    let output = command
        .args(["--override-os", "linux", "--override-arch", "amd64"])
        .args(["inspect", "--no-tags", "--retry-times", "0", "--tls-verify=false"])
        .arg(format!("docker://{}/pause:3.10", registry.host()))
        .env_remove("DOCKER_CONFIG")
        .envs(variables.iter().map(|(name, value)| (*name, value)))
        .output()
        .unwrap();
    output.status.success()
}

#[track_caller]
fn becomes(shape: &str, registry: &Registry, variables: &[(&str, String)], outcome: Outcome) -> Run {
    let world = World::new();
    let run = locks(&world, registry, variables);
    match outcome {
        Ok(()) => assert_eq!(run.code, Some(0), "{shape}:\n{}", run.stderr),
        Err((code, words)) => {
            assert_eq!(run.code, Some(code), "{shape}:\n{}", run.stderr);
            for word in words {
                assert!(run.stderr.contains(word), "{shape}: no {word:?} in:\n{}", run.stderr);
            }
            // It waits out a 429 for a minute.
            if there_is("skopeo") && !run.stderr.contains("429") {
                assert!(!skopeo(registry, variables), "{shape}: skopeo pulls it");
            }
        }
    }
    run
}

fn pushed(change: impl FnOnce(Builder) -> Builder) -> Registry {
    let mut builder = Builder::default();
    builder.push("pause", "3.10", &["arm64", "amd64"]);
    change(builder).start()
}

/// The token for the scope that a request names, as JSON.
fn token(request: &Request) -> String {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let scope = query.split('&').find_map(|pair| pair.strip_prefix("scope=")).unwrap_or("nothing");
    format!("tok-{}", percent_decode_str(scope).decode_utf8_lossy())
}

fn is_token(request: &Request) -> bool {
    request.target.starts_with("/token")
}

fn is_granted(request: &Request) -> bool {
    request.authorization.as_deref() == Some(&format!("Bearer {GRANT}"))
}

fn challenge(values: &[&str]) -> Fault {
    let headers = values.iter().map(|value| ("WWW-Authenticate", (*value).to_owned())).collect();
    let body = json!({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]});
    Fault::Answer(401, headers, body.to_string().into_bytes())
}

/// genuinetools/reg#72, apple/container#454, regclient/regclient#265, containerd/containerd#6376.
#[test]
fn challenges_of_every_shape_get_a_token_for_this_repository() {
    const RIGHT: &str = "Bearer realm=\"{self}/token\",service=\"reg\",scope=\"repository:pause:pull\"";
    let cases: [&'static [&'static str]; 19] = [
        &[RIGHT],
        &["Bearer realm=\"{self}/token\",service=\"reg\",scope=\"\""],
        &["Bearer realm=\"{self}/token\",service=\"reg\",scope=\"*\""],
        &["Bearer realm=\"{self}/token\",service=\"reg\",scope=\" \""],
        &["Bearer realm=\"{self}/token\",service=\"reg\""],
        &["Bearer realm=\"{self}/token\""],
        &["Bearer realm=\"{self}/token\",service=reg.example.com,scope="],
        &["bearer REALM=\"{self}/token\",SERVICE=\"reg\""],
        &["Bearer realm=\"{self}/token\",empty=\"\",service=\"reg\""],
        &["Bearer realm=\"{self}/token\",service=\"reg\","],
        &["Bearer realm=\"{self}/token\";service=\"reg\""],
        &["Bearer  realm=\"{self}/token\", service=\"reg\""],
        &["Bearer realm='{self}/token',service='reg'"],
        &["Bearer realm={self}/token,service=reg"],
        &["Bearer realm=\"/token\",service=\"reg\""],
        &["Basic realm=/\"", RIGHT],
        &["Negotiate YII=, x", RIGHT],
        &["Negotiate", "NTLM", RIGHT],
        &["Basic realm=\"x\", Bearer realm=\"{self}/token\",service=\"reg\""],
    ];
    for values in cases {
        let registry = pushed(|builder| {
            builder.faults(move |request| match () {
                _ if is_token(request) => {
                    let body = json!({"token": token(request)}).to_string();
                    Some(Fault::Answer(200, Vec::new(), body.into_bytes()))
                }
                _ if is_granted(request) => None,
                _ => Some(challenge(values)),
            })
        });
        becomes(&format!("{values:?}"), &registry, &[], Ok(()));
    }
}

/// goharbor/harbor#10522, and what other token services say.
#[test]
fn token_services_of_every_shape_are_understood_or_named() {
    let cases: [(u16, &str, Outcome); 14] = [
        (200, r#"{"token":"T"}"#, Ok(())),
        (200, r#"{"access_token":"T"}"#, Ok(())),
        (200, r#"{"token":"","access_token":"T"}"#, Ok(())),
        (200, r#"{"token":null,"access_token":"T"}"#, Ok(())),
        (200, r#"{"token":"T","expires_in":"300","issued_at":"yesterday"}"#, Ok(())),
        (201, r#"{"token":"T"}"#, Ok(())),
        (200, "\u{feff}{\"token\":\"T\"}", Ok(())),
        (
            200,
            "{}",
            Err((
                6,
                &[
                    "cannot log in for http://127.0.0.1",
                    "its token service http://127.0.0.1",
                    "grants no token",
                ],
            )),
        ),
        (200, "<html>login</html>", Err((6, &["its token service http://127.0.0.1", "HTML page"]))),
        (
            404,
            r#"{"errors":[{"code":"DENIED","message":"no such service"}]}"#,
            Err((
                6,
                &[
                    "its token service http://127.0.0.1",
                    "answered 404",
                    "DENIED: no such service",
                    "its operator must correct that address",
                ],
            )),
        ),
        (
            401,
            r#"{"details":"incorrect username or password"}"#,
            Err((
                6,
                &[
                    "the token service http://127.0.0.1",
                    "answered 401: incorrect username or password",
                    "docker login",
                ],
            )),
        ),
        (403, "", Err((6, &["answered 403", "docker login"]))),
        (
            429,
            r#"{"message":"slow down"}"#,
            Err((6, &["its token service", "answered 429: slow down", "wait, or use a mirror"])),
        ),
        (503, "", Err((6, &["its token service", "answered 503"]))),
    ];
    for (status, body, outcome) in cases {
        let registry = pushed(|builder| {
            builder.faults(move |request| match () {
                _ if is_token(request) => {
                    let body = body.replace("\"T\"", &format!("\"{GRANT}\""));
                    Some(Fault::Answer(status, Vec::new(), body.into_bytes()))
                }
                _ if is_granted(request) => None,
                _ => Some(challenge(&["Bearer realm=\"{self}/token\",service=\"reg\""])),
            })
        });
        let run = becomes(&format!("{status} {body}"), &registry, &[], outcome);
        assert!(!run.stderr.contains("no tag"), "the tag is not what is missing: {}", run.stderr);
    }
}

/// containerd/containerd#3291, sapcc/keppel#522.
#[test]
fn a_registry_that_says_only_at_its_door_how_to_log_in_is_asked_there() {
    for status in [401, 404, 403] {
        let registry = pushed(|builder| {
            builder.faults(move |request| match () {
                _ if request.authorization.as_ref() == Some(&basic(USER, PASSWORD)) => None,
                _ if request.target == "/v2/" => Some(challenge(&["Basic realm=\"x\""])),
                _ => Some(Fault::Status(status)),
            })
        });
        let world = World::new();
        let config = docker_config(&world, &auths(&registry, USER, PASSWORD));
        let variables = [("DOCKER_CONFIG", config.display().to_string())];
        locks(&world, &registry, &variables).ok();
        let doors = registry.requests().iter().filter(|request| request.target == "/v2/").count();
        assert_eq!(doors, 1, "{status}");
    }
    // Anyone gets a token there.
    let registry = pushed(|builder| {
        builder.faults(|request| match () {
            _ if is_token(request) => {
                let body = json!({"token": token(request)}).to_string();
                Some(Fault::Answer(200, Vec::new(), body.into_bytes()))
            }
            _ if is_granted(request) => None,
            _ if request.target == "/v2/" => Some(challenge(&["Bearer realm=\"{self}/token\""])),
            _ => Some(Fault::Status(401)),
        })
    });
    becomes("a token at the door", &registry, &[], Ok(()));
}

/// zarf-dev/zarf#2081, enix/kube-image-keeper#626.
#[test]
fn a_registrys_own_words_are_told_with_the_way_out() {
    let words =
        |code: &str, message: &str| json!({"errors": [{"code": code, "message": message}]}).to_string();
    let cases: [(u16, String, Outcome); 5] = [
        (
            429,
            words("TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit."),
            Err((
                6,
                &[
                    "the server answered 429: TOOMANYREQUESTS: You have reached your unauthenticated pull rate limit.",
                    "log in (`docker login HOST`), wait, or use a mirror",
                ],
            )),
        ),
        (
            403,
            words("DENIED", "Xray policy blocks this image"),
            Err((6, &["the server answered 403: DENIED: Xray policy blocks this image", "docker login"])),
        ),
        (
            404,
            words("MANIFEST_UNKNOWN", "manifest\u{1b}[2J unknown"),
            Err((7, &["no image", "MANIFEST_UNKNOWN: manifest[2J unknown"])),
        ),
        (401, words("UNAUTHORIZED", "quota"), Err((6, &["401: UNAUTHORIZED: quota", "docker login"]))),
        (503, "<html>maintenance</html>".into(), Err((6, &["the server answered 503"]))),
    ];
    for (status, body, outcome) in cases {
        let shape = body.clone();
        let registry = pushed(|builder| {
            builder.faults(move |_| Some(Fault::Answer(status, Vec::new(), body.clone().into_bytes())))
        });
        let run = becomes(&shape, &registry, &[], outcome);
        assert!(!run.stderr.contains('\u{1b}'), "{:?}", run.stderr);
    }
}

/// An index over manifests for amd64 and arm64 with these descriptors; `M` and `A` in them are the two digests.
fn index(entries: impl Fn(Value, Value) -> Vec<Value>) -> Registry {
    let mut builder = Builder::default();
    let mut one = |arch: &str| {
        let bytes = builder.manifest(arch, &[("pause", arch.as_bytes())], &mut Pushed::default());
        let digest = builder.document("pause", "", MANIFEST, &bytes);
        json!({"mediaType": MANIFEST, "digest": digest, "size": bytes.len()})
    };
    let (amd64, arm64) = (one("amd64"), one("arm64"));
    let text =
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries(amd64, arm64)}).to_string();
    builder.document("pause", "3.10", INDEX, text.as_bytes());
    builder.start()
}

fn on(mut descriptor: Value, arch: &str) -> Value {
    descriptor["platform"] = json!({"os": "linux", "architecture": arch});
    descriptor
}

#[test]
fn indexes_of_every_shape_lead_to_the_manifest_for_the_architecture() {
    let cases: [(&str, Registry, Outcome); 8] = [
        ("one without a platform", index(|amd64, _| vec![amd64]), Ok(())),
        ("two without a platform", index(|amd64, arm64| vec![arm64, amd64]), Ok(())),
        ("an empty platform", index(|amd64, _| vec![on(amd64, "")]), Ok(())),
        ("x86_64", index(|amd64, arm64| vec![on(arm64, "aarch64"), on(amd64, "x86_64")]), Ok(())),
        ("X86-64", index(|amd64, arm64| vec![on(arm64, "ARM64"), on(amd64, "X86-64")]), Ok(())),
        (
            "another's without a platform",
            index(|_, arm64| vec![arm64]),
            Err((7, &["is not for linux/amd64: it is for linux/arm64"])),
        ),
        ("another's", index(|_, arm64| vec![on(arm64, "arm64")]), Err((7, &["it is for linux/arm64"]))),
        (
            "nothing",
            index(|_, _| Vec::new()),
            Err((7, &["is not for linux/amd64: its index names no known platform"])),
        ),
    ];
    for (shape, registry, outcome) in cases {
        if shape.starts_with("another's without") {
            // skopeo reads the manifest, whatever its config says.
            locks(&World::new(), &registry, &[]).fails(7, outcome.unwrap_err().1);
            continue;
        }
        becomes(shape, &registry, &[], outcome);
    }
}

/// broadinstitute/qprimer_designer#27: containerd resolves an index in an index.
#[test]
fn an_index_in_an_index_is_followed_one_level_down_and_named_below() {
    let nested = |depth: usize, with_platform: bool| {
        let mut builder = Builder::default();
        let bytes = builder.manifest("amd64", &[("pause", b"p")], &mut Pushed::default());
        let digest = builder.document("pause", "", MANIFEST, &bytes);
        let mut below = on(json!({"mediaType": MANIFEST, "digest": digest, "size": bytes.len()}), "amd64");
        for level in 0..=depth {
            let text = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [below]}).to_string();
            let tag = if level == depth { "3.10" } else { "" };
            let digest = builder.document("pause", tag, INDEX, text.as_bytes());
            below = json!({"mediaType": INDEX, "digest": digest, "size": text.len()});
            if with_platform {
                below = on(below, "amd64");
            }
        }
        builder.start()
    };
    for with_platform in [true, false] {
        becomes("one level", &nested(1, with_platform), &[], Ok(()));
        let why = "it is an index inside an index inside an index";
        locks(&World::new(), &nested(2, with_platform), &[]).fails(4, &[why]);
    }
}

#[test]
fn a_document_that_is_packed_on_the_way_or_announced_wrongly_is_undone_or_named() {
    let packed = pushed(|builder| {
        builder.faults(|request| request.target.contains("/manifests/").then_some(Fault::Gzip))
    });
    becomes("gzip", &packed, &[], Ok(()));
    // distribution/distribution#2395, google/go-containerregistry#56
    let wrong = format!("sha256:{}", "a".repeat(64));
    let registry = pushed(|builder| {
        builder.faults(move |request| {
            let wrong = vec![("Docker-Content-Digest", wrong.clone())];
            request.target.contains("/manifests/3.10").then_some(Fault::Headers(wrong))
        })
    });
    let run = locks(&World::new(), &registry, &[]);
    run.fails(4, &["announces another digest than it sends", "has sha256", "rewrites what it passes on"]);
    assert!(!run.stderr.contains("differs from the locked one"), "nothing was locked: {}", run.stderr);
}

#[test]
fn encrypted_layers_are_taken_with_a_warning() {
    let mut builder = Builder::default();
    let bytes = builder.manifest("amd64", &[("pause", b"p")], &mut Pushed::default());
    let mut manifest: Value = serde_json::from_slice(&bytes).unwrap();
    manifest["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
    builder.document("pause", "3.10", MANIFEST, manifest.to_string().as_bytes());
    let run = locks(&World::new(), &builder.start(), &[]).ok();
    for words in ["has encrypted layers (application/vnd.oci.image.layer.v1.tar+gzip+encrypted)", "ocicrypt"]
    {
        assert!(run.stderr.contains(words), "no {words:?} in {}", run.stderr);
    }
}

#[test]
fn credential_files_and_helpers_that_are_of_no_use_stop_no_public_image_and_are_named_where_one_is_refused() {
    let private = || pushed(|builder| builder.login(Login::Basic { user: USER, password: PASSWORD }));
    let cases = [
        ("{\"credsStore\": \"nope\"}", "docker-credential-nope cannot be run ("),
        ("{\"auths\": {\n\"x\": {},\n}}", "config.json:3: it is not JSON"),
        ("{\"auths\": {\"HOST\": {\"auth\": \"!\"}}}", "the entry for 127.0.0.1"),
    ];
    for (text, note) in cases {
        for (registry, refused) in [(pushed(|builder| builder), false), (private(), true)] {
            let world = World::new();
            world.write("docker/config.json", text.replace("HOST", &registry.host()));
            let variables = [("DOCKER_CONFIG", world.path("docker").display().to_string())];
            let run = locks(&world, &registry, &variables);
            match refused {
                true => run.fails(6, &["401", note, "config.json", "docker login"]),
                false => drop(run.ok()),
            }
        }
    }
    // A byte order mark, as editors on Windows leave it.
    let (world, registry) = (World::new(), private());
    world.write("docker/config.json", format!("\u{feff}{}", auths(&registry, USER, PASSWORD)));
    locks(&world, &registry, &[("DOCKER_CONFIG", world.path("docker").display().to_string())]).ok();
}

/// hauler-dev/hauler#94; containers-auth.json(5).
#[test]
fn podmans_files_and_its_keys_for_one_repository_log_in_as_they_do_for_skopeo() {
    type Place = fn(&World) -> (&'static str, Option<(&'static str, String)>);
    let places: [Place; 4] = [
        |world| ("auth.json", Some(("REGISTRY_AUTH_FILE", world.path("auth.json").display().to_string()))),
        |world| {
            ("run/containers/auth.json", Some(("XDG_RUNTIME_DIR", world.path("run").display().to_string())))
        },
        |world| {
            ("etc/containers/auth.json", Some(("XDG_CONFIG_HOME", world.path("etc").display().to_string())))
        },
        |_| (".config/containers/auth.json", None),
    ];
    let key = |user: &str| json!({"auth": STANDARD.encode(format!("{user}:{PASSWORD}"))});
    let keys = ["{}", "{}/pause", "https://{}", "https://{}/v1/", "https://{}/v2/"];
    for place in places {
        for shape in keys {
            let registry = pushed(|builder| builder.login(Login::Basic { user: USER, password: PASSWORD }));
            let world = World::new();
            let (path, variable) = place(&world);
            let mut auths = json!({ shape.replace("{}", &registry.host()): key(USER) });
            if shape.ends_with("/pause") {
                auths[registry.host()] = key("somebody-else");
            }
            world.write(path, json!({ "auths": auths }).to_string());
            let variables: Vec<_> = variable.into_iter().collect();
            let run = locks(&world, &registry, &variables);
            assert_eq!(run.code, Some(0), "{path} {shape}:\n{}", run.stderr);
            assert!(!run.stderr.contains(PASSWORD) && !lock(&world).contains(PASSWORD));
        }
    }
}

/// A token service's 307 once took the refresh token along.
#[test]
fn a_refresh_token_and_a_password_never_go_to_another_host_whatever_the_redirect() {
    for status in [301, 302, 303, 307, 308] {
        for (config, with_token) in [
            (json!({"identitytoken": "identity-s3cr3t"}), true),
            (json!({"username": USER, "password": PASSWORD}), false),
        ] {
            let thief = Builder::default()
                .faults(|_| Some(Fault::Answer(200, Vec::new(), b"{\"token\":\"stolen\"}".to_vec())))
                .start();
            let target = format!("{}/steal", thief.url());
            let registry = pushed(|builder| {
                builder.faults(move |request| match () {
                    _ if is_token(request) => {
                        Some(Fault::Answer(status, vec![("Location", target.clone())], Vec::new()))
                    }
                    _ => Some(challenge(&["Bearer realm=\"{self}/token\",service=\"reg\""])),
                })
            });
            let world = World::new();
            let config = docker_config(&world, &json!({"auths": {registry.host(): config}}));
            let run = locks(&world, &registry, &[("DOCKER_CONFIG", config.display().to_string())]);
            run.fails(6, &[]);
            let heard = thief.requests();
            assert!(
                heard.iter().all(|request| request.authorization.is_none() && request.body.is_empty()),
                "{heard:?}"
            );
            if with_token {
                assert!(heard.is_empty(), "{status}: {heard:?}");
                run.fails(6, &["must not get its credentials", &thief.host()]);
            }
            assert!(!run.stderr.contains("s3cr3t"), "{}", run.stderr);
        }
    }
}

#[test]
fn a_mirrors_password_in_its_address_logs_in_and_leaves_no_trace() {
    for login in
        [Login::Basic { user: USER, password: PASSWORD }, Login::Bearer { user: Some((USER, PASSWORD)) }]
    {
        let registry = pushed(|builder| builder.login(login));
        let world = world("registry.k8s.io/pause:3.10");
        let mirror = registry.url().replace("http://", &format!("http://{USER}:{PASSWORD}@"));
        let run = |mirror: &str| {
            let mut command = world.command(&["lock", "recipes/small.yaml"]);
            Run::of(command.env("PREBAKE_MIRROR_OCI", mirror).output().unwrap())
        };
        run(&mirror.replace(PASSWORD, "wr0ng-s3cr3t")).fails(6, &["http://***@127.0.0.1", "401"]);
        run(&mirror).ok();
        for secret in [PASSWORD, "wr0ng-s3cr3t"] {
            let grep = Command::new("grep")
                .args(["-rlaF", secret, "."])
                .current_dir(world.path(""))
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
        }
    }
}
