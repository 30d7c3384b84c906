# Words of a text: hashes, regular expressions, sorting.
use strict;
use warnings;

open(my $file, '<', 'text') or die;
read($file, my $text, 1 << 18);
for my $round (1 .. $ARGV[0]) {
    my (%count, %pairs, $last);
    while ($text =~ /([a-zA-Z]+)/g) {
        my $word = lc $1;
        $count{$word}++;
        $pairs{"$last $word"}++ if defined $last;
        $last = $word;
    }
    my @best = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
    my @twice = grep { $pairs{$_} > 1 } sort keys %pairs;
    (my $swapped = substr($text, 0, 100000)) =~ s/(\w+) (\w+)/$2 $1/g;
    print "$round @best[0 .. 20] ", scalar(@twice), " ", unpack('%32C*', $swapped), "\n";
}
