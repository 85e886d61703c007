#!/bin/bash
# SPDX-License-Identifier: MIT
# java: compile and run a program of threads, direct buffers, compression and much garbage.
. "$(dirname "$0")/common.sh"
set_up java javac
rounds=$((full ? 300 : 30))

cat >"$work/Churn.java" <<'END'
import java.nio.ByteBuffer;
import java.util.*;
import java.util.concurrent.*;
import java.util.zip.*;

public class Churn {
	static long churn(int seed, int rounds) throws Exception {
		Random random = new Random(seed);
		Map<Integer, byte[]> map = new HashMap<>();
		long sum = 0;
		for (int i = 0; i < rounds * 200; i++) {
			byte[] b = new byte[1 + random.nextInt(20000)];
			Arrays.fill(b, (byte) i);
			map.put(random.nextInt(500), b);
			if (i % 100 == 0) {
				ByteBuffer direct = ByteBuffer.allocateDirect(1 + random.nextInt(500000));
				direct.put(b, 0, Math.min(b.length, direct.capacity())).flip();
				Deflater deflater = new Deflater();
				deflater.setInput(b);
				deflater.finish();
				byte[] out = new byte[b.length + 100];
				int n = deflater.deflate(out);
				deflater.end();
				Inflater inflater = new Inflater();
				inflater.setInput(out, 0, n);
				byte[] back = new byte[b.length];
				inflater.inflate(back);
				inflater.end();
				if (!Arrays.equals(b, back))
					throw new Exception("inflate");
				sum += n + direct.remaining();
			}
		}
		for (byte[] b : map.values())
			sum = sum * 31 + Arrays.hashCode(b);
		return sum;
	}

	public static void main(String[] arguments) throws Exception {
		int rounds = Integer.parseInt(arguments[0]);
		ExecutorService pool = Executors.newFixedThreadPool(4);
		List<Future<Long>> results = new ArrayList<>();
		for (int i = 0; i < 8; i++) {
			int seed = i;
			results.add(pool.submit(() -> churn(seed, rounds)));
		}
		for (Future<Long> r : results)
			System.out.println(r.get());
		pool.shutdown();
		System.exit(5);
	}
}
END
cd "$work"
under plain javac -d plain.classes Churn.java 2>"$work/err" || fail "javac, without the library"
under ours javac -d ours.classes Churn.java 2>"$work/err" || { cat err; fail "javac"; }
check_silent "$work/err"
diff -r plain.classes ours.classes || fail "javac compiles differently"
expected=5 compare java -Xmx256m -cp ours.classes Churn "$rounds"
check_served java -version
say "$rounds rounds in 4 threads"
