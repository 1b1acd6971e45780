//! The login of an egress proxy: Basic (RFC 7617), from a reference, or from the variable that names the proxy.

use std::sync::Arc;

use http::HeaderValue;
use keepgate_net::{Authorize, BoxError, ProxyLogin};
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use crate::{
    error::{CredentialError, Fault},
    local,
    material::basic,
    reference::Reference,
};

/// A login of `user` with what `reference` names as the password. It is read again for each connection.
pub fn proxy_login(user: &str, reference: Reference) -> ProxyLogin {
    let place = format!("{user} {reference}");
    let user = user.to_owned();
    ProxyLogin::new(&place, Arc::new(Password { user, reference }))
}

/// A login with the user and password in the URL that a variable of the environment holds.
pub fn proxy_login_of_variable(name: &str) -> ProxyLogin {
    let place = format!("env:{name}");
    let name = name.to_owned();
    ProxyLogin::new(&place, Arc::new(Variable { name }))
}

#[derive(Debug)]
struct Password {
    user: String,
    reference: Reference,
}

impl Authorize for Password {
    fn line(&self) -> Result<HeaderValue, BoxError> {
        let failed = |fault| CredentialError {
            reference: self.reference.text(),
            fault,
        };
        let secret = local::of(&self.reference).map_err(failed)?;
        let line = basic(self.user.as_bytes(), secret.expose());
        Ok(line.map_err(failed)?)
    }
}

#[derive(Debug)]
struct Variable {
    name: String,
}

impl Authorize for Variable {
    fn line(&self) -> Result<HeaderValue, BoxError> {
        let failed = |fault| CredentialError {
            reference: format!("env:{}", self.name).into(),
            fault,
        };
        let secret = local::environment(&self.name).map_err(failed)?;
        let line = secret.expose_text().and_then(|url| {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            let authority = rest.split(['/', '?', '#']).next()?;
            let (login, _) = authority.rsplit_once('@')?;
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            let decode = |text: &str| {
                let decoded: Vec<u8> = percent_decode(text.as_bytes()).collect();
                Zeroizing::new(decoded)
            };
            Some(basic(&decode(user), &decode(password)))
        });
        let line = line.unwrap_or(Err(Fault::Unsendable));
        Ok(line.map_err(failed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_read_from_a_file_each_time_and_never_shown() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy");
        let login = proxy_login(
            "keepgate",
            Reference::parse(&format!("file:{}", path.display())).unwrap(),
        );
        let source = Password {
            user: "keepgate".into(),
            reference: Reference::parse(&format!("file:{}", path.display())).unwrap(),
        };
        assert!(source.line().is_err());
        for (password, line) in [
            ("open-sesame\n", "Basic a2VlcGdhdGU6b3Blbi1zZXNhbWU="),
            ("other", "Basic a2VlcGdhdGU6b3RoZXI="),
        ] {
            std::fs::write(&path, password).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let made = source.line().unwrap();
            assert_eq!(made.to_str().unwrap(), line);
            assert!(made.is_sensitive());
        }
        assert!(!format!("{login:?} {source:?}").contains("other"));
    }
}
