package fleet

import (
	"slices"
	"strings"
	"sync"
)

// running are the federations that were started and not yet stopped, by name.
// What is outside of a config, such as the admin endpoint, asks here each
// time: its routes are made before the federation is, and outlive a config
// that failed. Between the start of a new config and the stop of the old one
// there are two of a name; when the new one fails, the old one stands again.
var running = struct {
	sync.RWMutex
	apps map[string][]*App
}{apps: make(map[string][]*App)}

// Running returns the federation of that name that was started last and still
// runs, or nil.
func Running(name string) *App {
	running.RLock()
	defer running.RUnlock()
	if apps := running.apps[name]; len(apps) > 0 {
		return apps[len(apps)-1]
	}
	return nil
}

// RunningNames names the federations that run, sorted.
func RunningNames() []string {
	running.RLock()
	defer running.RUnlock()
	names := make([]string, 0, len(running.apps))
	for name := range running.apps {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare)
	return names
}

// enter notes that the federation runs.
func (a *App) enter() {
	running.Lock()
	defer running.Unlock()
	running.apps[a.Name] = append(running.apps[a.Name], a)
}

// leave notes that it does not any more.
func (a *App) leave() {
	running.Lock()
	defer running.Unlock()
	left := slices.DeleteFunc(running.apps[a.Name], func(other *App) bool { return other == a })
	if len(left) == 0 {
		delete(running.apps, a.Name)
		return
	}
	running.apps[a.Name] = left
}
