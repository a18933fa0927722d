package mysql_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/mysql"
)

// TestTLS: each ssl-mode connects to the server that it means, and to no other.
func TestTLS(t *testing.T) {
	t.Parallel()
	for _, version := range mytest.Versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			for _, named := range []bool{true, false} {
				ca, files := certificates(t, named)
				server := mytest.Own(t, dbtest.MySQLOptions{Version: version, Settings: files})
				stranger, _ := certificates(t, true)
				for _, c := range []struct {
					mode, ca  string
					connected bool
				}{{"REQUIRED", "", true}, {"VERIFY_CA", ca, true}, {"VERIFY_CA", stranger, false}, {"VERIFY_IDENTITY", ca, named}, {"VERIFY_IDENTITY", stranger, false}} {
					text := server.DSN("mysql") + "?ssl-mode=" + c.mode
					if c.ca != "" {
						text += "&ssl-ca=" + url.QueryEscape(c.ca)
					}
					target, err := mysql.ParseDSN(text, "")
					if err != nil {
						t.Fatal(err)
					}
					db := sql.OpenDB(target.Connector())
					var name, cipher string
					err = db.QueryRow("SHOW STATUS LIKE 'Ssl_cipher'").Scan(&name, &cipher)
					db.Close()
					if (err == nil) != c.connected || c.connected && cipher == "" || err != nil && !strings.Contains(err.Error(), "x509") {
						t.Errorf("%s, its name right: %v, its authority: %v: cipher %q, %v, want a connection: %v", c.mode, named, c.ca == ca, cipher, err, c.connected)
					}
				}
			}
		})
	}
}

// certificates makes an authority, and one of it for a server, with its name or with another one. files are the server's settings.
func certificates(t *testing.T, named bool) (authority string, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for at := dir; at != os.TempDir() && len(at) > 1; at = filepath.Dir(at) { // the server is another user
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	make := func(of *x509.Certificate, by *x509.Certificate, key, with *rsa.PrivateKey) []byte {
		of.NotBefore, of.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, of, by, &key.PublicKey, with)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	var keys []*rsa.PrivateKey
	for range 2 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"elsewhere.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if named {
		leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	authority = write("ca.pem", "CERTIFICATE", make(ca, ca, keys[0], keys[0]))
	return authority, map[string]string{"ssl_ca": authority, "ssl_cert": write("cert.pem", "CERTIFICATE", make(leaf, ca, keys[1], keys[0])),
		"ssl_key": write("key.pem", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(keys[1]))}
}
