# enter_uid.sh UID FOLDER COMMAND…: run the command as that user with group 0, where nothing but FOLDER can be written, as
# OpenShift runs images. To be started in a mount namespace of its own. The one capability that is left lets the user read
# an environment of Python that belongs to root.
set -eu
user=$1 folder=$2
shift 2
mount --make-rprivate /
mount --bind "$folder" "$folder"
mount -o remount,bind,ro /
exec setpriv "--reuid=$user" --regid=0 --clear-groups --no-new-privs --inh-caps=-all,+dac_read_search \
  --ambient-caps=-all,+dac_read_search --bounding-set=-all,+dac_read_search "$@"
