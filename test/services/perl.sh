#!/bin/bash
# SPDX-License-Identifier: MIT
# perl: hashes, strings, regular expressions, sort, fork; the same output as without the library.
. "$(dirname "$0")/common.sh"
set_up perl
export PERL_HASH_SEED=0 PERL_PERTURB_KEYS=0
cat >"$work/churn.pl" <<'END'
use strict; use warnings; use Digest::MD5 'md5_hex';
my ($state, %h, @kept) = (1);
sub next_number { $state = ($state * 1103515245 + 12345) % 2147483648; return $state % $_[0] }
for my $i (1 .. $ARGV[0]) {
	$h{next_number(5000)} .= "word$i " x next_number(20);
	$kept[next_number(300)] = [map { { n => $_, s => "x" x $_ } } 1 .. next_number(30)];
	delete $h{next_number(5000)} if $i % 3 == 0;
	(my $copy = $h{next_number(5000)} // '') =~ s/(\d+)/<$1>/g;
}
print md5_hex(join '|', map { "$_=$h{$_}" } sort { $a <=> $b } keys %h), "\n";
print join(' ', map { scalar @{$kept[$_] // []} } 0 .. 299), "\n";
$| = 1;
for my $n (1 .. 5) {
	my $pid = fork // die;
	if (!$pid) { my $s = 'y' x 1000000; exit length($s) == 1000000 ? $n : 99 }
	waitpid $pid, 0;
	print $? >> 8, "\n";
}
exit 6;
END
expected=6 compare perl "$work/churn.pl" $((full ? 2000000 : 100000))
check_served perl -e 0
say "hashes, strings, fork"
