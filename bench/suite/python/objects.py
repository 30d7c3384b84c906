"""A discrete simulation: customers go from counter to counter of a shop; objects, methods, a heap."""
import heapq
import sys


class Random:
    def __init__(self, seed):
        self.state = seed

    def below(self, limit):
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.state >> 8) % limit


class Counter:
    def __init__(self, shop, speed):
        self.shop, self.speed = shop, speed
        self.line, self.busy, self.served = [], False, 0

    def arrive(self, customer):
        self.line.append(customer)
        if not self.busy:
            self.begin()

    def begin(self):
        self.busy = True
        self.shop.later(self.speed + self.line[0].items, self.finish)

    def finish(self):
        customer = self.line.pop(0)
        self.served += 1
        self.busy = False
        if self.line:
            self.begin()
        customer.go_on()


class Customer:
    def __init__(self, shop, items, visits):
        self.shop, self.items, self.visits = shop, items, visits

    def go_on(self):
        if self.visits == 0:
            self.shop.left += 1
            return
        self.visits -= 1
        min(self.shop.counters, key=lambda counter: len(counter.line)).arrive(self)


class Shop:
    def __init__(self, seed):
        self.now, self.order, self.left, self.events = 0, 0, 0, []
        self.random = Random(seed)
        self.counters = [Counter(self, 3 + i) for i in range(6)]

    def later(self, delay, action):
        self.order += 1
        heapq.heappush(self.events, (self.now + delay, self.order, action))

    def run(self, customers):
        for _ in range(customers):
            customer = Customer(self, self.random.below(20), 1 + self.random.below(4))
            self.later(self.random.below(5000), customer.go_on)
        while self.events:
            self.now, _, action = heapq.heappop(self.events)
            action()
        return self.now, self.left, [counter.served for counter in self.counters]


for round_number in range(int(sys.argv[1])):
    print(Shop(round_number + 1).run(1000))
