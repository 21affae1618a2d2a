# enter_root.sh ROOT UID:GID FOLDER NAME=VALUE… COMMAND…: run the command in ROOT, read-only, as that user, with nothing
# else. To be started in mount and process namespaces of its own; the command becomes their first process.
set -eu
root=$1 user=$2 folder=$3
shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777,nosuid,nodev,size=64m tmpfs "$root/tmp"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for device in null zero urandom; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777,nosuid,nodev,noexec,size=64m tmpfs "$root/dev/shm"
cd "$root"
exec chroot "$root" setpriv "--reuid=${user%:*}" "--regid=${user#*:}" --clear-groups --no-new-privs --inh-caps=-all \
  --bounding-set=-all env -i "--chdir=$folder" "$@"
