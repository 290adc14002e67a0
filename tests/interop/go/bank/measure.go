// For bench/barrier_servers.cpp: how long calls take, one after the other on one connection.
package main

import (
	"bufio"
	"database/sql"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmcli/dtmimp"
)

// commands reads lines `DB WHAT GID COUNT`, does WHAT (bare, action, compensate) COUNT times in transactions GID-1, GID-2, ...,
// and prints the nanoseconds of time and of CPU that they took.
func commands() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var db, what, gid string
		var count int
		if _, err := fmt.Sscan(lines.Text(), &db, &what, &gid, &count); err != nil {
			panic(err)
		}
		if db != "redis" {
			pooled(db).SetMaxOpenConns(1)
			pooled(db).SetMaxIdleConns(1)
		}
		begin, cpu := time.Now(), used()
		for i := 1; i <= count; i++ {
			if err := measured(db, what, fmt.Sprintf("%s-%d", gid, i), i%100); err != nil {
				panic(err)
			}
		}
		fmt.Println(time.Since(begin).Nanoseconds(), used()-cpu)
	}
}

func measured(db, what, gid string, account int) error {
	name := fmt.Sprintf("bench%d", account)
	barrier := dtmcli.BranchBarrier{TransType: "saga", Gid: gid, BranchID: "01", Op: what, DBType: db}
	if db == "redis" {
		if what == "bare" {
			return rds.IncrBy(rds.Context(), name, 1).Err()
		}
		return barrier.RedisCheckAdjustAmount(rds, name, 1, expire)
	}
	business := func(tx *sql.Tx) error {
		statement := dtmimp.GetDBSpecial(db).GetPlaceHoldSQL("UPDATE dtm_bank.account SET balance = balance + ? WHERE name = ?")
		_, err := tx.Exec(statement, 1, name)
		return err
	}
	if what != "bare" {
		return barrier.CallWithDB(pooled(db), business)
	}
	tx, err := pooled(db).Begin()
	if err == nil {
		err = business(tx)
	}
	if err == nil {
		err = tx.Commit()
	}
	return err
}

func used() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}
