#!/bin/bash
# SPDX-License-Identifier: MIT
# node: buffers, compression, workers, child processes; the same output as without the library.
. "$(dirname "$0")/common.sh"
set_up node
rounds=$((full ? 400 : 40))

cat >"$work/main.js" <<'END'
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const crypto = require('crypto'), zlib = require('zlib'), { execFileSync } = require('child_process');
const rounds = +process.argv[2];

function churn(seed) {
	let state = seed, kept = [];
	const next = n => (state = (state * 1103515245 + 12345) % 2147483648) % n;
	const hash = crypto.createHash('sha256');
	for (let i = 0; i < rounds * 50; i++) {
		const b = Buffer.allocUnsafeSlow(1 + next(100000)).fill(next(256));
		kept[next(200)] = b;
		const other = kept[next(200)];
		if (other) hash.update(other.subarray(0, 100));
		if (i % 50 === 0) {
			const z = zlib.deflateSync(b);
			if (!zlib.inflateSync(z).equals(b)) throw new Error('inflate');
			kept.push(Buffer.concat([z, b]));
		}
	}
	return hash.digest('hex');
}

if (!isMainThread) {
	parentPort.postMessage(churn(workerData));
} else {
	console.log('main', churn(1));
	const workers = [2, 3, 4, 5].map(seed => new Promise((ok, bad) =>
		new Worker(__filename, { workerData: seed, argv: [rounds] }).once('message', ok).once('error', bad)));
	Promise.all(workers).then(results => {
		results.forEach((r, i) => console.log('worker', i, r));
		console.log(execFileSync('sh', ['-c', 'echo child']).toString().trim());
		console.log(new Intl.DateTimeFormat('en', { dateStyle: 'full', timeZone: 'UTC' }).format(0));
		process.exitCode = 3;
	});
}
END
expected=3 compare node "$work/main.js" "$rounds"
check_served node -e 0
say "$rounds rounds in 5 threads"
