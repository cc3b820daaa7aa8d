# 2026-11-20 10:00:00 by RouterOS 7.16
/interface list
add name=WAN
/ip firewall filter
add action=accept chain=input connection-state=established,related,untracked
add action=accept chain=input protocol=icmp
add action=drop chain=input src-address-list=port-scanners
add action=add-src-to-address-list address-list=port-scanners \
    address-list-timeout=1d chain=input protocol=tcp psd=21,3s,3,1
add action=add-src-to-address-list address-list="knock:1" \
    address-list-timeout=10s chain=input comment="first knock" dst-port=41222 \
    in-interface-list=WAN protocol=tcp
add action=add-src-to-address-list address-list="knock:2" \
    address-list-timeout=00:00:15 chain=input dst-port=18123 protocol=udp \
    src-address-list="knock:1"
add action=add-src-to-address-list address-list=ALLOWED address-list-timeout=\
    1h30m chain=input dst-port=30222 protocol=tcp src-address-list="knock:2"
add action=accept chain=input dst-port=22,8291 protocol=tcp \
    src-address-list=ALLOWED
add action=accept chain=input disabled=yes src-address-list=ALLOWED
add action=drop chain=input in-interface-list=WAN
/ip firewall nat
add action=masquerade chain=srcnat out-interface-list=WAN
