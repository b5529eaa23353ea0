package main

import (
	"context"
	"errors"
	"fmt"
	"math"
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

// benchmark runs BenchmarkName of this directory five times with variables added to the
// environment, describes it on standard error and returns the fastest run.
func benchmark(ctx context.Context, name, what string, env []string) (benchmarked, error) {
	fmt.Fprintln(os.Stderr, what)
	command := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark"+name+"$", "-benchmem", "-count", "5", "./bench")
	command.Env = append(os.Environ(), env...)
	out, err := command.CombinedOutput()
	if err != nil {
		return benchmarked{}, fmt.Errorf("%w: %s", err, out)
	}
	best := benchmarked{took: math.MaxInt64}
	for _, match := range regexp.MustCompile(`Benchmark`+name+`\S*\s+\d+\s+([0-9.]+) ns/op\s+\d+ B/op\s+(\d+) allocs/op`).FindAllSubmatch(out, -1) {
		took, err := strconv.ParseFloat(string(match[1]), 64)
		allocs, err2 := strconv.ParseFloat(string(match[2]), 64)
		if err := errors.Join(err, err2); err != nil {
			return benchmarked{}, err
		}
		if time.Duration(took) < best.took {
			best = benchmarked{time.Duration(took), allocs}
		}
	}
	if best.took == math.MaxInt64 {
		return benchmarked{}, fmt.Errorf("no figures in %s", out)
	}
	return best, nil
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
	printDeployment(r.deployment)
	printCandidates(r.candidates)
	printOperations(r.operations)
	printOthers(r)
	return checkBounds(r)
}

// cold returns the median time from the start of a candidate to its first response.
func cold(c *candidate) time.Duration { return median(c.init) + median(c.first) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// printDeployment prints the measurements over TLS. The ratios are medians over the rounds,
// with the quartiles.
func printDeployment(d *deployment) {
	bare := d.candidates[0]
	fmt.Printf("%s, %d cores of %s, %s, Node.js %s, %s. Over TLS to a stub of DynamoDB, in a root directory like that of provided.al2023; %d starts and %d calls of each candidate, in random order.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), processor(), runtime.Version(), version("node"), version("rustc"), coldRounds, warmRounds*warmRoundCalls)
	fmt.Println("| cold | init | first call | both | ×bare | processor time | zip |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, c := range d.candidates {
		fmt.Printf("| %s | %.1f ms | %.1f ms | %.1f ms | %v | %.1f ms | %.2f MB |\n",
			c.name, ms(median(c.init)), ms(median(c.first)), ms(median(c.cold)), ratios(c.cold, bare.cold), ms(median(c.coldCPU)), mb(c.zip))
	}
	fmt.Println("\n| warm | p50 | ×bare | processor time of a call | ×bare | peak RSS |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, c := range d.candidates {
		fmt.Printf("| %s | %.2f ms | %v | %.3f ms | %v | %.0f MB |\n",
			c.name, ms(median(c.warm)), ratios(c.warm, bare.warm), ms(median(c.warmCPU)), ratios(c.warmCPU, bare.warmCPU), mb(c.rss))
	}
	fmt.Println()
	for _, line := range d.leftOut {
		fmt.Println(line)
	}
}

func printCandidates(candidates []*candidate) {
	bare := candidates[0]
	fmt.Print("\nWithout TLS, over DynamoDB Local:\n\n")
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
	fmt.Printf("The handler without a store, with a new ES256 token: %.0f µs, %.0f allocations; the verification of an ES256 signature alone: %.0f µs.\n",
		float64(r.handler.took)/1000, r.handler.allocs, float64(r.signature.took)/1000)
	const batch = 100 // records of a call in BenchmarkRelay
	fmt.Printf("The relay with AWS in its process, calls signed: %.0f records a second, %.0f allocations each.\n",
		batch/r.relay.took.Seconds(), r.relay.allocs/batch)
	fmt.Printf("The local scheduler with %d syncs that run every minute: starts in %.0f ms, uses %.0f MB; %d runs in %v, stored p50 %.0f ms and p99 %.0f ms after their time.\n\n",
		scheduledSyncs, ms(r.scheduler.load), mb(r.scheduler.memory), len(r.scheduler.late), schedulingTime, ms(median(r.scheduler.late)), ms(quantile(r.scheduler.late, 0.99)))
}

// deployed checks the bounds of what runs over TLS.
func (b *bounds) deployed(d *deployment) {
	bare, syncplane := d.candidates[0], d.candidates[1]
	b.check("cold start over TLS over the bare handler's", ratios(syncplane.cold, bare.cold).median, 0.40)
	found := false
	for _, c := range d.candidates {
		if c.name == rustName {
			found = true
			b.check("cold start over TLS over that of Rust", ratios(syncplane.cold, c.cold).median, 1)
		}
	}
	if !found {
		fmt.Println("SKIP cold start over TLS over that of Rust, which is left out")
	}
	b.check("processor time of a warm call over TLS over the bare handler's", ratios(syncplane.warmCPU, bare.warmCPU).median, 1)
	b.check("warm p50 over TLS over the bare handler's", ratios(syncplane.warm, bare.warm).median, 1.25)
	b.check("peak RSS over TLS, MB", mb(syncplane.rss), 30)
}

// checkBounds prints whether each bound holds.
func checkBounds(r results) error {
	bare, syncplane := r.candidates[0], r.candidates[1]
	b := &bounds{}
	b.deployed(r.deployment)
	b.check("cold start without TLS over the bare handler's", ratio(cold(syncplane), cold(bare)), 1.3)
	b.check("warm p50 without TLS over the bare handler's", ratio(median(syncplane.warm), median(bare.warm)), 1.25)
	b.check("zip, MB", mb(syncplane.zip), 4.5)
	b.check("peak RSS, MB", mb(syncplane.rss), 30)
	b.check("handler over the verification of an ES256 signature", ratio(r.handler.took, r.signature.took), 1.5)
	b.check("handler, allocations", r.handler.allocs, 150)
	b.check("3000 creates a second over the local server's", 3000/r.server.perSecond, 1)
	return b.err()
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

// version returns what a tool prints as its version.
func version(tool string) string {
	out, err := exec.Command(tool, "--version").Output() //nolint:noctx // it ends at once
	if err != nil {
		return "no " + tool
	}
	return strings.TrimSpace(string(out))
}
