package changeling_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestMySQLUnfitServers: what a server among others cannot do is said before anything is touched, and again before the lock.
func TestMySQLUnfitServers(t *testing.T) {
	t.Parallel()
	s := mytest.Own(t, dbtest.MySQLOptions{Version: "mysql9.7", Settings: map[string]string{
		"gtid_mode": "ON", "enforce_gtid_consistency": "ON", "plugin_load_add": "group_replication.so", "report_host": "127.0.0.1",
		"loose_group_replication_group_name": "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa", "loose_group_replication_local_address": freeAddress(t),
		"loose_group_replication_start_on_boot": "OFF", "loose_group_replication_ip_allowlist": "127.0.0.1", "loose_group_replication_single_primary_mode": "OFF"}})
	db := mytest.Open(t, s.DSN("mysql"))
	mytest.Exec(t, db, `CREATE DATABASE shop`)
	shop := mytest.Open(t, s.DSN("shop"))
	mytest.Exec(t, shop, `CREATE TABLE orders `+myOrders)
	fillMy(t, shop, "orders", 50)
	config := changeling.Config{DropAfter: changeling.DropNow}
	refused := func(when, says string) {
		t.Helper()
		err := changeling.Apply(t.Context(), shop, myGrow, config)
		if !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: Apply = %v, want ErrPrecondition with %q", when, err, says)
		}
	}
	mytest.Exec(t, db, `SET GLOBAL super_read_only = ON`)
	refused("read-only", "connect to the primary")
	mytest.Exec(t, db, `SET GLOBAL super_read_only = OFF, GLOBAL read_only = OFF`)

	mytest.Exec(t, db, `SET GLOBAL group_replication_bootstrap_group = ON`, `START GROUP_REPLICATION`)
	refused("in a group in multi-primary mode", "group_replication_switch_to_single_primary_mode")
	if left := myTraces(t, shop, "changeling_"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	mytest.Exec(t, db, `DO (SELECT group_replication_switch_to_single_primary_mode())`)
	if err := changeling.Apply(t.Context(), shop, myGrow, config); err != nil {
		t.Errorf("on the primary of a group: %v", err)
	}
	// A server that becomes unfit while a change runs is not cut over.
	var told story
	config = changeling.Config{CutoverAttempts: 3, Events: upon(told.tell, began("verify"), func() {
		mytest.Exec(t, db, `DO (SELECT group_replication_switch_to_multi_primary_mode())`)
	})}
	err := changeling.Apply(t.Context(), shop, `ALTER TABLE orders MODIFY amount int NOT NULL`, config)
	if !errors.Is(err, changeling.ErrPrecondition) {
		t.Errorf("a group that took multi-primary mode during the change: %v, want ErrPrecondition", err)
	}
}

// TestMySQLReadOnlyUnderWay: a server that somebody takes out of service while a change runs is told as that, by the run that meets it and by those that
// are begun meanwhile, and once it may be written to again the change goes on.
func TestMySQLReadOnlyUnderWay(t *testing.T) {
	t.Parallel()
	server := mytest.Own(t, dbtest.MySQLOptions{Version: "mysql9.7"}) // MariaDB has nothing that keeps a superuser from writing
	root := mytest.Open(t, server.DSN("mysql"))
	mytest.Exec(t, root, `CREATE DATABASE app`, `CREATE TABLE app.orders `+myOrders)
	fillMy(t, root, "app.orders", 200)
	db := mytest.Open(t, server.DSN("app"))
	var once sync.Once
	config := changeling.Config{Fast: true, DropAfter: changeling.DropNow, Binlog: server.DSN("app"),
		Events: upon(event.Lines(t.Output()), began("heal"), func() { once.Do(func() { mytest.Exec(t, root, `SET GLOBAL super_read_only = ON`) }) })}
	for range 2 {
		if err := changeling.Apply(t.Context(), db, myGrow, config); !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("Apply = %v, want ErrPrecondition that says that the server is read-only", err)
		}
	}
	mytest.Exec(t, root, `SET GLOBAL super_read_only = OFF, GLOBAL read_only = OFF`)
	if err := changeling.Apply(t.Context(), db, myGrow, config); err != nil {
		t.Error(err)
	}
}

// TestMySQLTellsOfReplicas: who reads the binary log applies a long index build in its turn.
func TestMySQLTellsOfReplicas(t *testing.T) {
	t.Parallel()
	s := mytest.Own(t, dbtest.MySQLOptions{Version: "mysql9.7"})
	mytest.Exec(t, mytest.Open(t, s.DSN("mysql")), `CREATE DATABASE shop`, `CREATE TABLE shop.orders `+myOrders)
	shop := mytest.Open(t, s.DSN("shop"))
	why := func() (text string) {
		t.Helper()
		e, err := changeling.Open(t.Context(), shop, changeling.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		p, err := e.Plan(t.Context(), myGrow)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range p.Steps {
			text += step.Why + "\n"
		}
		return text
	}
	if strings.Contains(why(), "replica") {
		t.Errorf("without a replica the plan says:\n%s", why())
	}
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	config := replication.BinlogSyncerConfig{ServerID: 4711, Flavor: "mysql", Host: host, User: "root", Logger: slog.New(slog.DiscardHandler)}
	if _, err := fmt.Sscan(port, &config.Port); err != nil {
		t.Fatal(err)
	}
	replica := replication.NewBinlogSyncer(config)
	defer replica.Close()
	if _, err := replica.StartSync(mysql.Position{Name: "binlog.000001", Pos: 4}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for !strings.Contains(why(), "1 replica is attached") {
		if ctx.Err() != nil {
			t.Fatalf("with a replica the plan says:\n%s", why())
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 { // below those that the system gives to clients, one of which could have it before the server
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}
