//! Machines that nobody can log in to, ux 1.4: the shipped Kubernetes recipe gave such machines without a word.

use std::fs;

use crate::world::World;

const WORDS: &str = "nobody can log in to ";

/// What `plan` and `build` of the small recipe say about logins, after something was done to it; both must say the same, before
/// there is a lock, too.
fn told(prepare: impl FnOnce(&World)) -> Vec<String> {
    let world = World::new();
    prepare(&world);
    let lines = |args: &[&str]| {
        let run = world.prebake(args).ok();
        let lines = run.stderr.lines().filter_map(|line| Some(line.split_once(WORDS)?.1.to_owned()));
        lines.collect::<Vec<_>>()
    };
    let early = lines(&["plan", "recipes/small.yaml"]);
    assert_eq!(lines(&["build", "recipes/small.yaml"]), early);
    assert_eq!(lines(&["plan", "recipes/small.yaml"]), early);
    early
}

fn butane(body: &str) -> String {
    format!("variant: flatcar\nversion: 1.0.0\n{body}")
}

fn by_layer(body: &str) -> Vec<String> {
    told(|world| {
        world.write("recipes/way.bu", butane(body));
        world.edit("recipes/small.yaml", "[worker.ign", "[way.bu, worker.ign");
    })
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt you@host";

#[test]
fn a_recipe_that_lets_nobody_in_is_warned_of_by_plan_and_build_profile_by_profile() {
    let all = told(|_| ());
    let of =
        |profile: &str| format!("the machines of profile `{profile}`: no SSH key, no password, no autologin");
    // The only node of `control` has layers of its own, so its boot is what counts.
    assert_eq!(all, ["`n2`: no SSH key, no password, no autologin".to_owned(), of("worker")]);
    let control = told(|world| {
        world.edit(
            "recipes/small.yaml",
            "    kernel_args: [console=ttyS0]",
            "    kernel_args: [console=ttyS0, flatcar.autologin]",
        );
    });
    assert_eq!(control, ["`n2`: no SSH key, no password, no autologin"]);
    let by_node = told(|world| {
        world.write(
            "recipes/n2.bu",
            butane(&format!("passwd: {{users: [{{name: core, ssh_authorized_keys: ['{KEY}']}}]}}\n")),
        );
        world.edit("recipes/small.yaml", "[n2.ign]", "[n2.ign, n2.bu]");
    });
    assert_eq!(by_node, [of("worker")]);
}

#[test]
fn every_way_in_is_known_wherever_it_stands() {
    assert!(
        told(|world| world.edit("recipes/small.yaml", "sysexts:", &format!("ssh_keys: ['{KEY}']\nsysexts:")))
            .is_empty()
    );
    for arg in
        ["flatcar.autologin", "flatcar.autologin=tty1", "coreos.autologin", "systemd.debug_shell=ttyS0"]
    {
        let all = told(|world| {
            world.edit("recipes/small.yaml", "console=ttyS0", &format!("console=ttyS0, {arg}"));
            world.edit(
                "recipes/small.yaml",
                "control.ign]",
                &format!("control.ign]\n    kernel_args: [{arg}]"),
            );
        });
        assert!(all.is_empty(), "{arg}: {all:?}");
    }
    let units = "systemd:\n  units:\n";
    for body in [
        format!("passwd: {{users: [{{name: core, ssh_authorized_keys: ['{KEY}']}}]}}\n"),
        format!("passwd: {{users: [{{name: ops, ssh_authorized_keys: ['{KEY}']}}]}}\n"),
        format!("storage: {{files: [{{path: /home/core/.ssh/authorized_keys.d/me, contents: {{inline: '{KEY}'}}}}]}}\n"),
        "storage: {files: [{path: /etc/ssh/sshd_config.d/ca.conf, contents: {inline: 'TrustedUserCAKeys /etc/ca.pub'}}]}\n".into(),
        format!("{units}    - {{name: serial-getty@.service, dropins: [{{name: a.conf, contents: \"[Service]\\nExecStart=\\nExecStart=-/sbin/agetty --autologin core %I\\n\"}}]}}\n"),
        format!("{units}    - {{name: debug-shell.service, enabled: true}}\n"),
        // A config that is fetched may bring a key: nothing is said of it.
        "ignition: {config: {merge: [{source: 'http://config.example/keys.ign'}]}}\n".into(),
        format!("ignition: {{config: {{merge: [{{inline: '{{\"ignition\": {{\"version\": \"3.3.0\"}}, \"passwd\": {{\"users\": [{{\"name\": \"core\", \"sshAuthorizedKeys\": [\"{KEY}\"]}}]}}}}'}}]}}}}\n"),
    ] {
        let all = by_layer(&body);
        assert!(all.is_empty(), "{body}: {all:?}");
    }
}

/// Review of issue 17, 14: any `ssh_keys:` silenced everything.
#[test]
fn a_github_user_counts_as_long_as_no_key_of_theirs_is_known_to_be_missing() {
    let world = World::new();
    world.prebake(&["lock", "recipes/small.yaml"]).ok();
    world.edit("recipes/small.yaml", "sysexts:", "ssh_keys: ['github:octo']\nsysexts:");
    let told = || world.prebake(&["plan", "recipes/small.yaml"]).ok().stderr.matches(WORDS).count();
    assert_eq!(told(), 0, "no lock says that octo has no key");
    world.edit("recipes/small.lock", "inputs:\n", "ssh_keys:\n  octo: []\ninputs:\n");
    assert_eq!(told(), 2);
}

#[test]
fn what_is_no_way_in_does_not_count_as_one() {
    for body in [
        "passwd: {users: [{name: core, password_hash: '*'}]}\n".to_owned(),
        "passwd: {users: [{name: core, password_hash: '!'}]}\n".into(),
        format!("passwd: {{users: [{{name: backup, shell: /usr/sbin/nologin, ssh_authorized_keys: ['{KEY}']}}]}}\n"),
        "passwd: {users: [{name: core, groups: [docker]}]}\n".into(),
        "storage: {files: [{path: /home/core/.ssh/authorized_keys, contents: {inline: ''}}]}\n".into(),
        "storage: {files: [{path: /etc/ssh/sshd_config.d/a.conf, contents: {inline: 'PermitRootLogin no'}}]}\n".into(),
        "systemd: {units: [{name: debug-shell.service, mask: true}]}\n".into(),
    ] {
        assert_eq!(by_layer(&body).len(), 2, "{body}");
    }
    for arg in ["systemd.debug_shell=0", "flatcar.autologins"] {
        let all =
            told(|world| world.edit("recipes/small.yaml", "console=ttyS0", &format!("console=ttyS0, {arg}")));
        assert_eq!(all.len(), 2, "{arg}");
    }
}

#[test]
fn private_layers_count_and_the_installed_system_is_what_is_judged() {
    let private = told(|world| {
        world.write(
            "recipes/p.bu",
            butane(&format!("passwd: {{users: [{{name: core, ssh_authorized_keys: ['{KEY}']}}]}}\n")),
        );
        fs::set_permissions(world.path("recipes/p.bu"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        world.edit("recipes/small.yaml", "    kernel_args", "    private: [p.bu]\n    kernel_args");
        world.edit("recipes/small.yaml", "control.ign]", "control.ign]\n    private: [p.bu]");
    });
    assert!(private.is_empty(), "{private:?}");
    let installed = told(|world| {
        world.edit("recipes/small.yaml", "  worker:\n", "  worker:\n    install: {device: /dev/vda}\n");
        world.edit(
            "recipes/small.yaml",
            "default_profile:",
            "outputs: {pxe: {}, disk: {}, matchbox: {}}\ndefault_profile:",
        );
    });
    assert_eq!(installed.len(), 2, "{installed:?}");
}
