# The game of life on a torus: arrays and arithmetic.
use strict;
use warnings;

my $size = 64;
my $state = 42;
my @grid = map { $state = ($state * 1103515245 + 12345) & 0x7fffffff; ($state >> 16) & 1 } 1 .. $size * $size;
for my $step (1 .. $ARGV[0]) {
    my @next;
    for my $y (0 .. $size - 1) {
        my ($up, $row, $down) = map { ($_ % $size) * $size } $y - 1, $y, $y + 1;
        for my $x (0 .. $size - 1) {
            my ($left, $right) = (($x - 1) % $size, ($x + 1) % $size);
            my $near = $grid[$up + $left] + $grid[$up + $x] + $grid[$up + $right] + $grid[$row + $left] +
                $grid[$row + $right] + $grid[$down + $left] + $grid[$down + $x] + $grid[$down + $right];
            $next[$row + $x] = $near == 3 || ($near == 2 && $grid[$row + $x]) ? 1 : 0;
        }
    }
    @grid = @next;
}
print join('', @grid[$_ * $size .. $_ * $size + $size - 1]), "\n" for 0 .. $size - 1;
