package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// benchmarked is the result of a Go benchmark, for one operation.
type benchmarked struct {
	took   time.Duration
	allocs float64
}

// benchmark runs BenchmarkName of this directory, and describes it on standard error.
func benchmark(ctx context.Context, name, what string) (benchmarked, error) {
	fmt.Fprintln(os.Stderr, what)
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark"+name+"$", "-benchmem", "./bench").CombinedOutput()
	if err != nil {
		return benchmarked{}, fmt.Errorf("%w: %s", err, out)
	}
	match := regexp.MustCompile(`Benchmark` + name + `\S*\s+\d+\s+([0-9.]+) ns/op\s+\d+ B/op\s+(\d+) allocs/op`).FindSubmatch(out)
	if match == nil {
		return benchmarked{}, fmt.Errorf("no figures in %s", out)
	}
	took, err := strconv.ParseFloat(string(match[1]), 64)
	allocs, err2 := strconv.ParseFloat(string(match[2]), 64)
	return benchmarked{time.Duration(took), allocs}, errors.Join(err, err2)
}

// quantile returns the value below which this share of all durations lies.
func quantile(all []time.Duration, share float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

func median(all []time.Duration) time.Duration { return quantile(all, 0.5) }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func mb(bytes int64) float64 { return float64(bytes) / 1e6 }

// report prints the tables, and returns an error if a bound is missed.
func report(r results) error {
	printCandidates(r.candidates)
	printOperations(r.operations)
	printOthers(r)
	return checkBounds(r)
}

// cold returns the median time from the start of a candidate to its first response.
func cold(c *candidate) time.Duration { return median(c.init) + median(c.first) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func printCandidates(candidates []*candidate) {
	bare := candidates[0]
	fmt.Printf("%s, %d cores of %s, %s, Node.js %s. All candidates use one DynamoDB Local and the Runtime API of pkg/emulator/lambdaruntime, Node.js with a plain loop.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), processor(), runtime.Version(), nodeVersion())
	fmt.Println("| | init p50 | first invoke p50 | cold start | ×floor | warm p50 | warm p99 | ×floor | peak RSS | zip |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, c := range candidates {
		fmt.Printf("| %s | %.1f ms | %.1f ms | %.1f ms | %.2f | %.2f ms | %.2f ms | %.2f | %.0f MB | %.2f MB |\n",
			c.name, ms(median(c.init)), ms(median(c.first)), ms(cold(c)), ratio(cold(c), cold(bare)),
			ms(median(c.warm)), ms(quantile(c.warm, 0.99)), ratio(median(c.warm), median(bare.warm)), mb(c.rss), mb(c.zip))
	}
}

func printOperations(operations []*operation) {
	fmt.Print("\n| operation |")
	for _, op := range operations {
		fmt.Printf(" %s |", op.name)
	}
	fmt.Print("\n|---|" + strings.Repeat("---|", len(operations)) + "\n| warm p50 |")
	for _, op := range operations {
		fmt.Printf(" %.2f ms |", ms(median(op.took)))
	}
	fmt.Print("\n\n")
}

func printOthers(r results) {
	for _, l := range r.lists {
		fmt.Printf("A page of 20 in a workspace of %d syncs: %.1f read units, %.2f ms.\n", l.syncs, l.units, ms(l.took))
	}
	fmt.Printf("The local server, bbolt with fsync, %d clients on the same cores: %.0f durable creates a second, p50 %.1f ms, p99 %.1f ms.\n",
		clients, r.server.perSecond, ms(median(r.server.took)), ms(quantile(r.server.took, 0.99)))
	fmt.Printf("The handler without a store, with ES256: %.0f µs, %.0f allocations.\n", float64(r.handler.took)/1000, r.handler.allocs)
	const batch = 100 // records of a call in BenchmarkRelay
	fmt.Printf("The relay with AWS in its process, calls signed: %.0f records a second, %.0f allocations each.\n",
		batch/r.relay.took.Seconds(), r.relay.allocs/batch)
	fmt.Printf("The local scheduler with %d syncs that run every minute: starts in %.0f ms, uses %.0f MB; %d runs in %v, stored p50 %.0f ms and p99 %.0f ms after their time.\n\n",
		scheduledSyncs, ms(r.scheduler.load), mb(r.scheduler.memory), len(r.scheduler.late), schedulingTime, ms(median(r.scheduler.late)), ms(quantile(r.scheduler.late, 0.99)))
}

// checkBounds prints whether each bound holds.
func checkBounds(r results) error {
	bare, syncplane := r.candidates[0], r.candidates[1]
	missed := 0
	bound := func(what string, got, most float64) {
		verdict := "PASS"
		if got > most {
			verdict = "FAIL"
			missed++
		}
		fmt.Printf("%s %s: %.2f, at most %.2f\n", verdict, what, got, most)
	}
	bound("cold start over the bare handler's", ratio(cold(syncplane), cold(bare)), 1.3)
	bound("warm p50 over the bare handler's", ratio(median(syncplane.warm), median(bare.warm)), 1.25)
	bound("zip, MB", mb(syncplane.zip), 4.5)
	bound("peak RSS, MB", mb(syncplane.rss), 30)
	bound("handler, µs", float64(r.handler.took)/1000, 150)
	bound("handler, allocations", r.handler.allocs, 200)
	bound("3000 creates a second over the local server's", 3000/r.server.perSecond, 1)
	if missed > 0 {
		return fmt.Errorf("%d bounds are missed", missed)
	}
	return nil
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		if match := regexp.MustCompile(`model name\s*: (.*)`).FindSubmatch(text); match != nil {
			return string(match[1])
		}
	}
	return runtime.GOARCH
}

func nodeVersion() string {
	out, err := exec.Command("node", "--version").Output() //nolint:noctx // it ends at once
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
