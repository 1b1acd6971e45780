//! Egress proxies of configurations and of variables.

use keepgate_net::Egress;

use super::*;

/// Host and port of the proxy, and whether it gets a credential.
fn proxy_of(egress: &Egress) -> Option<(String, bool)> {
    match egress {
        Egress::Direct => None,
        Egress::Proxied(route) => Some((route.proxy.name(), route.proxy.login().is_some())),
    }
}

#[test]
fn a_proxy_of_variables_is_for_https_and_shows_no_password() {
    let text =
        format!("{SMALL}egress: {{ proxy: env, no_proxy: [a.example], plaintext: allowed }}\n");
    let egress = |variables: &[(&str, &str)]| {
        let configuration = read(&text, variables).unwrap();
        let Upstream::Http { way, .. } =
            &configuration.gateway.servers[&ServerName::parse("crm").unwrap()].upstream
        else {
            panic!()
        };
        assert!(
            !format!("{configuration:?}").contains("sesame"),
            "{configuration:?}"
        );
        (way.egress.clone(), configuration.warnings)
    };
    let (a, b) = ("http://a.example:1", "http://b.example:1");
    let found = |login| Some(("a.example:1", login));
    for (variables, proxy, warnings) in [
        (vec![], None, 1),
        (vec![("HTTPS_PROXY", "")], None, 1),
        // What a request can set where a gateway runs as CGI is not read.
        (vec![("HTTP_PROXY", a)], None, 1),
        (vec![("https_proxy", a)], found(false), 0),
        (vec![("ALL_PROXY", "a.example:1")], found(false), 0),
        (vec![("HTTPS_PROXY", a), ("ALL_PROXY", b)], found(false), 0),
        // Allowed above, and warned of.
        (
            vec![("HTTPS_PROXY", "http://gw:sesame@a.example:1/")],
            found(true),
            1,
        ),
        (
            vec![("HTTPS_PROXY", a), ("NO_PROXY", "b.example,http://odd,::1")],
            found(false),
            1,
        ),
    ] {
        let (egress, warned) = egress(&variables);
        let expected = proxy.map(|(name, login): (&str, bool)| (name.to_owned(), login));
        assert_eq!(proxy_of(&egress), expected, "{variables:?}");
        let ours = warned
            .iter()
            .filter(|it| it.contains("egress") || it.contains("NO_PROXY"));
        assert_eq!(ours.count(), warnings, "{variables:?} {warned:?}");
        if let Egress::Proxied(route) = egress {
            assert!(route.https_only);
        }
    }
}

#[test]
fn everything_that_connects_to_other_machines_has_the_way_out() {
    let configuration = read(include_str!("full.yaml"), &[]).unwrap();
    let gateway = &configuration.gateway;
    let Upstream::Http { way, .. } = &gateway.servers[&ServerName::parse("crm").unwrap()].upstream
    else {
        panic!()
    };
    let own = ("proxy.example:3128".to_owned(), false);
    assert_eq!(proxy_of(&way.egress), Some(own));
    let vault = gateway.credentials.vault.as_ref().unwrap();
    for other in [
        &vault.egress,
        &configuration.oauth.as_ref().unwrap().issuers[0].egress,
        &configuration.decisions.upload.as_ref().unwrap().egress,
    ] {
        assert_eq!(proxy_of(other), Some(("127.0.0.1:3128".to_owned(), true)));
    }
}
