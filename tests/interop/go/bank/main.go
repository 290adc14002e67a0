// A bank whose branches are written with dtm's own Go client; ../../bank.cpp is the same in C++ and says what it serves.
//
// Needs: the variables of tools/with_*.sh. It prints `ready URL` and serves until its input ends, which
// measure.go reads.
package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmcli/dtmimp"
	"github.com/dtm-labs/client/dtmcli/logger"
	"github.com/go-redis/redis/v8"
	"github.com/go-resty/resty/v2"
	_ "github.com/go-sql-driver/mysql"
	_ "github.com/lib/pq"
)

const expire = 7 * 24 * 3600 // seconds that Redis remembers a call

var (
	conf = map[string]dtmcli.DBConf{}
	rds  *redis.Client
)

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func connect() {
	pg := map[string]string{}
	for _, pair := range regexp.MustCompile(`(\w+)=(\S+)`).FindAllStringSubmatch(os.Getenv("DTM_POSTGRES"), -1) {
		pg[pair[1]] = pair[2]
	}
	conf["postgres"] = dtmcli.DBConf{Driver: "postgres", Host: pg["host"], Port: number(pg["port"]), User: pg["user"], Password: "none", Db: pg["dbname"], Schema: "public"}
	conf["mysql"] = dtmcli.DBConf{Driver: "mysql", Host: os.Getenv("DTM_MYSQL_HOST"), Port: number(os.Getenv("DTM_MYSQL_PORT")), User: os.Getenv("DTM_MYSQL_USER")}
	rds = redis.NewClient(&redis.Options{Addr: os.Getenv("DTM_REDIS")})
}

// pooled is the client's own pool of connections to one of the databases.
func pooled(db string) *sql.DB {
	pool, err := dtmimp.PooledDB(conf[db])
	if err != nil {
		panic(err)
	}
	return pool
}

// booking is what the business of a branch does.
func booking(tx dtmcli.DB, db, how string, q url.Values) error {
	statement := dtmimp.GetDBSpecial(db).GetPlaceHoldSQL("UPDATE dtm_bank.account SET balance = balance + ? WHERE name = ? AND balance + ? >= 0")
	change := number(q.Get("change"))
	answer, err := tx.Exec(statement, change, q.Get("account"), change)
	if err != nil {
		return err
	}
	if rows, _ := answer.RowsAffected(); rows == 0 {
		return fmt.Errorf("the balance is too small %w", dtmcli.ErrFailure)
	}
	switch how {
	case "no":
		return fmt.Errorf("not today %w", dtmcli.ErrFailure)
	case "error":
		return errors.New("out of order")
	case "slow":
		time.Sleep(5 * time.Millisecond)
	case "late":
		time.Sleep(5 * time.Millisecond)
		return fmt.Errorf("not today %w", dtmcli.ErrFailure)
	}
	return nil
}

func book(db string, barrier *dtmcli.BranchBarrier, q url.Values) error {
	barrier.DBType = db
	for _, how := range strings.Split(q.Get("how"), ",") {
		var err error
		if db == "redis" {
			err = barrier.RedisCheckAdjustAmount(rds, q.Get("account"), int(number(q.Get("change"))), expire)
		} else {
			err = barrier.CallWithDB(pooled(db), func(tx *sql.Tx) error { return booking(tx, db, how, q) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func serveBarrier(db string, q url.Values) error {
	barrier, err := dtmcli.BarrierFromQuery(q)
	if err != nil {
		return err
	}
	return book(db, barrier, q)
}

func serveAsked(db string, q url.Values) error {
	barrier, err := dtmcli.BarrierFromQuery(q)
	if err != nil {
		return err
	}
	barrier.DBType = db
	if db == "redis" {
		return barrier.RedisQueryPrepared(rds, expire)
	}
	return barrier.QueryPrepared(pooled(db))
}

func serveXa(db string, q url.Values) error {
	return dtmcli.XaLocalTransaction(q, conf[db], func(tx *sql.DB, _ *dtmcli.Xa) error { return booking(tx, db, q.Get("how"), q) })
}

func start(q url.Values) error {
	server, gid, branches := q.Get("server"), q.Get("gid"), q["branch"]
	switch q.Get("type") {
	case "saga":
		saga := dtmcli.NewSaga(server, gid)
		for i := 0; i < len(branches); i += 2 {
			saga.Add(branches[i], branches[i+1], "pay")
		}
		saga.RetryInterval = 1
		return saga.Submit()
	case "tcc":
		return dtmcli.TccGlobalTransaction2(server, gid, func(tcc *dtmcli.Tcc) { tcc.RetryInterval = 1 }, func(tcc *dtmcli.Tcc) (*resty.Response, error) {
			for i := 0; i < len(branches); i += 3 {
				if answer, err := tcc.CallBranch("pay", branches[i], branches[i+1], branches[i+2]); err != nil {
					return answer, err
				}
			}
			return nil, nil
		})
	case "xa":
		return dtmcli.XaGlobalTransaction2(server, gid, func(xa *dtmcli.Xa) { xa.RetryInterval = 1 }, func(xa *dtmcli.Xa) (*resty.Response, error) {
			for _, branch := range branches {
				if answer, err := xa.CallBranch("pay", branch); err != nil {
					return answer, err
				}
			}
			return nil, nil
		})
	default:
		msg := dtmcli.NewMsg(server, gid)
		for _, branch := range branches[1:] {
			msg.Add(branch, "pay")
		}
		msg.RetryInterval = 1
		return msg.DoAndSubmit(branches[0], func(barrier *dtmcli.BranchBarrier) error { return book(q.Get("db"), barrier, q) })
	}
}

// answer calls the function and says what it returned, as branches written in Go do.
func answer(w http.ResponseWriter, call func() error) {
	err := func() (err error) {
		defer func() {
			if problem := recover(); problem != nil {
				err = fmt.Errorf("panic: %v", problem)
			}
		}()
		return call()
	}()
	status, result := dtmcli.Result2HttpJSON(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(result)
}

func main() {
	logger.InitLog("fatal")
	connect()
	mux := http.NewServeMux()
	mux.HandleFunc("/start", func(w http.ResponseWriter, r *http.Request) {
		answer(w, func() error { return start(r.URL.Query()) })
	})
	for path, serve := range map[string]func(string, url.Values) error{"/barrier/": serveBarrier, "/asked/": serveAsked, "/xa/": serveXa} {
		path, serve := path, serve
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			answer(w, func() error { return serve(strings.TrimPrefix(r.URL.Path, path), r.URL.Query()) })
		})
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() { _ = http.Serve(listener, mux) }()
	fmt.Println("ready http://" + listener.Addr().String())
	commands()
}
