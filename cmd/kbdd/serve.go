package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"kbdd/kbd"
	"kbdd/kbd/control"
	"kbdd/kbd/input"
	"kbdd/kbd/vt"
)

// serve makes the devices and serves them until a signal comes. conf is what stands in path.
func serve(path string, conf config, log *slog.Logger) error {
	nodes, links := newNodes(openStore(log)), newLinks(log)
	handsOver, err := serveNodes(nodes, links, path, conf, log)
	if !handsOver { // nor after a panic, for which this must not be deferred
		links.close()
		nodes.close()
	}
	return err
}

// serveNodes does so with these nodes. It tells if all is left to the next kbdd.
func serveNodes(nodes *nodes, links *links, path string, conf config, log *slog.Logger) (handsOver bool, err error) {
	var service *kbd.Service
	guard, err := watch(func() (bool, error) { nodes.check(); return service.Check() }, log)
	if err != nil {
		return false, err
	}
	sleeper := &sleeper{
		log: log, waiters: nodes.waiters, unanswered: nodes.unanswered, store: nodes.store,
		sleeping: func(asleep bool) { guard.sleep(asleep); service.Sleep(asleep) }, begun: newToken(),
	}
	inUse := func() { guard.begun.put(); sleeper.begun.put() }
	if service, err = newService(nodes, conf, inUse, log); err != nil {
		return false, noDeviceError{err}
	}
	watcher, err := watchKeyboards(service, conf.Keyboards, log)
	if err != nil {
		return false, err
	}
	watcher.Settled = func() { links.update(service.Status().Keyboards) }
	watcher.Settled()
	if looked, err := control.Start(control.Socket, service, log); err != nil {
		log.Warn("kbdctl cannot ask this kbdd", "err", err)
	} else {
		defer looked.Close()
	}

	ctx, cancel := context.WithCancel(context.Background())
	var background sync.WaitGroup
	defer background.Wait() // programs that were stopped for a suspend go on
	defer cancel()
	unwatched := make(chan error, 1)
	background.Go(func() { unwatched <- watcher.Run(ctx) })
	background.Go(func() { sleeper.run(ctx) })

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("systemd was not told that kbdd is ready", "err", err)
	}
	go guard.run(ctx) // not waited for: it may be what hangs
	log.Info("ready", "device", "/dev/kbd0")
	sig, err := await(signals, func() { reload(path, service, watcher, log) }, nodes.ended, unwatched)
	// Another may follow, or not: if not, the parent closes what it keeps.
	handsOver = sig == syscall.SIGTERM && nodes.store.socket != ""
	if sig != nil {
		log.Info("ending", "signal", sig.String())
		_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	}
	if handsOver {
		service.HandOver()
	} else {
		service.Close()
	}
	return handsOver, err
}

// await waits for what ends kbdd: a signal, or an error of one of its parts.
func await(signals <-chan os.Signal, hangUp func(), served, watched <-chan error) (os.Signal, error) {
	for {
		select {
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return sig, nil
			}
			hangUp()
		case err := <-served:
			return nil, err
		case err := <-watched:
			return nil, err
		}
	}
}

// newService makes the service, and with it /dev/kbd0.
func newService(nodes *nodes, conf config, inUse func(), log *slog.Logger) (*kbd.Service, error) {
	for _, stranger := range conf.strangers {
		log.Warn("configuration names somebody who is not known, and matches nobody", "where", stranger)
	}
	parts := kbd.Config{
		Console: vt.New(), MakeNode: nodes.make, Relabel: nodes.relabel, Left: nodes.store.labels(),
		Groups: groupsOf, InUse: inUse, Log: log,
	}
	bypass, errBypass := input.NewBypass(log)
	if errBypass == nil {
		parts.Bypass = bypass
	}
	service, err := kbd.New(parts, conf.settings())
	if err != nil {
		return nil, err
	}
	nodes.store.giveUp()
	if errBypass != nil {
		log.Warn("while /dev/kbd0 is open Ctrl-Alt-Fn switches terminals, but SysRq, Ctrl-Alt-Del and the power keys are dead",
			"err", errBypass)
	}
	return service, nil
}

// watchKeyboards plugs in the keyboards that are there, and those that come while the watcher runs.
func watchKeyboards(service *kbd.Service, rules input.Rules, log *slog.Logger) (*input.Watcher, error) {
	none := true
	watcher, err := input.Watch("/dev/input", rules, log,
		func(k *input.Keyboard) {
			none = false
			log.Info("keyboard found", "node", k.Path, "name", k.Name)
			if err := service.Add(k); err != nil {
				log.Error("keyboard is part of kbd0 only", "err", err)
			}
		},
		func(k *input.Keyboard) {
			log.Info("keyboard is gone", "node", k.Path, "name", k.Name)
			service.Remove(k)
		})
	if err == nil && none {
		log.Warn("no keyboard found; /dev/kbd0 stands, and is silent")
	}
	return watcher, err
}

// reload reads the configuration anew. With a bad one all stays as it was.
func reload(path string, service *kbd.Service, watcher *input.Watcher, log *slog.Logger) {
	conf, err := loadStrictly(path)
	if err != nil {
		log.Error("configuration is left as it was", "err", err)
		return
	}
	service.Set(conf.settings())
	watcher.SetRules(conf.Keyboards)
	log.Info("configuration is read anew", "file", path)
}
