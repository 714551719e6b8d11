#!/bin/sh
# What udhcpc calls when the lease has changed.
case $1 in
deconfig)
  ip -4 addr flush dev "$interface"
  ;;
bound | renew)
  ifconfig "$interface" "$ip" netmask "$subnet"
  for address in $router; do ip route replace default via "$address" dev "$interface"; done
  {
    [ -z "$domain" ] || echo "search $domain"
    for address in $dns; do echo "nameserver $address"; done
  } >/etc/resolv.conf
  ;;
esac
