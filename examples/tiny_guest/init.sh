#!/bin/busybox sh
# The guest's first process: it loads the network card's driver, takes the addresses that are
# offered, serves one page on port 80, and gives the console to a shell. When that ends, the VM does.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

for module in $(cat /lib/modules/order); do insmod "/lib/modules/$module.ko"; done
n=0
until [ -e /sys/class/net/eth0 ] || [ $n = 100 ]; do usleep 50000; n=$((n + 1)); done
ip link set lo up
ip link set eth0 up
udhcpc -i eth0 -n -t 20 -T 1 -s /etc/lease.sh >/dev/null 2>&1 || echo "no lease was offered"
# The kernel makes itself an IPv6 address of what the router advertises, and tries it out first.
n=0
until ip -6 addr show dev eth0 scope global | grep -v tentative | grep -q inet6 || [ $n = 60 ]; do
  usleep 100000
  n=$((n + 1))
done
httpd -p 80 -h /www

echo "the guest is up:" $(ip addr show dev eth0 scope global | awk '/inet/ { print $2 }')
cd /root
setsid cttyhack sh
poweroff -f
