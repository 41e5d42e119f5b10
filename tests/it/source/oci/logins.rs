//! Registries that want a login: which credentials they get, and that nobody else gets them.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::{PASSWORD, PAUSE, USER, auths, build, command, docker_config, fails, lock, pause, world};
use crate::world::registry::{Builder, Fault, Login, Registry, Request, TOKEN, basic};
use crate::world::{Run, World};

/// Nothing of the credentials, in any spelling, is in what was written or said.
#[track_caller]
fn nothing_leaks(world: &World, run: &Run) {
    let basic = basic(USER, PASSWORD);
    let secrets = [PASSWORD, TOKEN, basic.strip_prefix("Basic ").unwrap(), "identity-s3cr3t"];
    let mut texts = vec![run.stdout.clone(), run.stderr.clone(), lock(world)];
    let found =
        Command::new("find").args([world.path("output"), world.path("store")]).args(["-type", "f"]).output();
    for path in String::from_utf8(found.unwrap().stdout).unwrap().lines() {
        texts.push(String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned());
    }
    assert!(texts.len() > 3);
    for (text, secret) in texts.iter().flat_map(|text| secrets.map(|secret| (text, secret))) {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn docker_credentials_log_in_with_basic_and_with_bearer_and_leak_nowhere() {
    for login in
        [Login::Basic { user: USER, password: PASSWORD }, Login::Bearer { user: Some((USER, PASSWORD)) }]
    {
        let (registry, _) = pause(|builder| builder.login(login));
        let world = world(PAUSE);
        let config = docker_config(&world, &auths(&registry, USER, PASSWORD));
        let mut command = command(&world, &registry, &["build", "recipes/small.yaml"]);
        let run = Run::of(command.env("DOCKER_CONFIG", config).output().unwrap()).ok();
        nothing_leaks(&world, &run);
        let asked = registry.requests();
        let tokens = asked.iter().filter(|request| request.target.starts_with("/token")).count();
        assert!(tokens <= 1, "a token is good for all of a repository");
    }
}

#[test]
fn dockers_own_place_is_looked_at_and_an_identity_token_gets_a_token() {
    let (registry, _) = pause(|builder| builder.login(Login::Identity { token: "identity-s3cr3t" }));
    let world = world(PAUSE);
    let config =
        docker_config(&world, &json!({"auths": {registry.host(): {"identitytoken": "identity-s3cr3t"}}}));
    fs::rename(config, world.path(".docker")).unwrap();
    let run = build(&world, &registry).ok();
    nothing_leaks(&world, &run);
}

#[test]
fn a_credential_helper_is_asked_and_what_it_says_is_not_repeated() {
    use std::os::unix::fs::PermissionsExt;
    let (registry, _) = pause(|builder| builder.login(Login::Basic { user: USER, password: PASSWORD }));
    let world = world(PAUSE);
    let config = docker_config(&world, &json!({"credHelpers": {registry.host(): "lab"}}));
    let helper = config.join("docker-credential-lab");
    let path = format!("{}:{}", config.display(), std::env::var("PATH").unwrap());
    let build = |script: String| {
        fs::write(&helper, script).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = command(&world, &registry, &["build", "recipes/small.yaml"]);
        Run::of(command.env("DOCKER_CONFIG", &config).env("PATH", &path).output().unwrap())
    };
    let broken = build(format!("#!/bin/sh\ncat >/dev/null\necho {PASSWORD}\necho {PASSWORD} >&2\nexit 1\n"));
    broken.fails(6, &["docker-credential-lab failed", "docker login"]);
    nothing_leaks(&world, &broken);
    let answer = json!({"ServerURL": registry.host(), "Username": USER, "Secret": PASSWORD});
    let run =
        build(format!("#!/bin/sh\n[ \"$1 $(cat)\" = 'get {}' ] && echo '{answer}'\n", registry.host())).ok();
    nothing_leaks(&world, &run);
}

#[test]
fn a_registry_that_lets_nobody_in_is_a_failure_with_a_hint_about_credentials() {
    let logins =
        [Login::Basic { user: USER, password: PASSWORD }, Login::Bearer { user: Some((USER, PASSWORD)) }];
    for login in logins {
        let (registry, _) = pause(|builder| builder.login(login.clone()));
        let anonymous = world(PAUSE);
        fails(
            &anonymous,
            &registry,
            6,
            &["cannot resolve registry.k8s.io/pause:3.10", "401", "docker login"],
        );
        let wrong = world(PAUSE);
        let config = docker_config(&wrong, &auths(&registry, USER, "wr0ng-s3cr3t"));
        fs::rename(config, wrong.path(".docker")).unwrap();
        let run = build(&wrong, &registry);
        run.fails(6, &["401", "docker login"]);
        assert!(!run.stderr.contains("wr0ng"), "{}", run.stderr);
    }
    let (registry, _) = pause(|builder| builder.faults(|_| Some(Fault::Status(403))));
    fails(&world(PAUSE), &registry, 6, &["403", "docker login"]);
}

/// A registry that wants a login, and sends whoever has it elsewhere for the blobs.
fn sending_to(elsewhere: String) -> Registry {
    let (registry, _) = pause(|builder| {
        builder.login(Login::Basic { user: USER, password: PASSWORD }).faults(move |request| {
            let granted = request.authorization.is_some() && request.target.contains("/blobs/");
            granted.then(|| Fault::Redirect(format!("{elsewhere}{}", request.target)))
        })
    });
    registry
}

#[test]
fn credentials_go_to_the_host_they_are_for_and_not_where_it_redirects() {
    // The same blobs, for anyone.
    let mut elsewhere = Builder::default();
    let pushed = elsewhere.push("pause", "3.10", &["arm64", "amd64"]);
    let elsewhere = elsewhere.start();
    let registry = sending_to(elsewhere.url());
    let world = world(PAUSE);
    let config = docker_config(&world, &auths(&registry, USER, PASSWORD));
    let mut command = command(&world, &registry, &["build", "recipes/small.yaml"]);
    Run::of(command.env("DOCKER_CONFIG", config).output().unwrap()).ok();
    let requests = elsewhere.requests();
    assert_eq!(requests.len(), 1 + pushed.layers["amd64"].len());
    assert!(requests.iter().all(|request| request.authorization.is_none()));
}

#[test]
fn a_host_that_is_redirected_to_gets_no_login_even_if_it_asks_for_one() {
    let mut thief = Builder::default();
    thief.push("pause", "3.10", &["arm64", "amd64"]);
    let thief = thief.login(Login::Bearer { user: Some((USER, PASSWORD)) }).start();
    let registry = sending_to(thief.url());
    let world = world(PAUSE);
    let config = docker_config(&world, &auths(&registry, USER, PASSWORD));
    fs::rename(config, world.path(".docker")).unwrap();
    build(&world, &registry).fails(6, &["401"]);
    let requests = thief.requests();
    assert!(!requests.is_empty());
    let asked = |request: &Request| request.authorization.is_some() || request.target.starts_with("/token");
    assert!(!requests.iter().any(asked), "{requests:?}");
}

#[test]
fn a_token_service_of_another_scheme_gets_no_credentials() {
    let challenge = "Bearer realm=\"ftp://127.0.0.1/token\"".to_owned();
    let (registry, _) = pause(|builder| builder.faults(move |_| Some(Fault::Challenge(challenge.clone()))));
    fails(&world(PAUSE), &registry, 6, &["cannot log in", "does not use https"]);
}
