package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// Authority is a certificate authority of a test's own.
type Authority struct {
	// File is its certificate, in PEM.
	File string

	t      testing.TB
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	folder string
}

// NewAuthority makes a certificate authority that nobody else trusts.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, folder: t.TempDir()}
	a.File = filepath.Join(a.folder, "ca.pem")
	a.cert = &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, SerialNumber: big.NewInt(1),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0), // tests move the clocks of servers
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = a.newKey()
	a.write(a.File, "CERTIFICATE", a.sign(a.cert, a.cert, a.key))
	return a
}

// Issue makes a certificate for a name or an address, for servers and for
// clients, and returns its files in PEM.
func (a *Authority) Issue(name string) (cert, key string) {
	a.t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	private := a.newKey()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key = filepath.Join(a.folder, name+".pem"), filepath.Join(a.folder, name+".key")
	a.write(cert, "CERTIFICATE", a.sign(template, a.cert, private))
	a.write(key, "PRIVATE KEY", der)
	return cert, key
}

// TLS are the options of a server that has a certificate for a name and
// listens for TLS on a port of its own, beside the one without. Clients are
// asked for certificates: "yes", "no" or "optional".
func (a *Authority) TLS(name, clients string) (port int, options []string) {
	a.t.Helper()
	cert, key := a.Issue(name)
	port = loopback.FreePort(a.t)
	return port, []string{
		"--tls-port", strconv.Itoa(port), "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-ca-cert-file", a.File, "--tls-auth-clients", clients,
	}
}

func (a *Authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *Authority) sign(template, parent *x509.Certificate, subject *ecdsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &subject.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func (a *Authority) write(file, kind string, der []byte) {
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}
