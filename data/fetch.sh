#!/usr/bin/env bash
# Fetch a MovieLens data set into a folder, checked and unpacked; `--help` says how.
# The last line on stdout is the folder's absolute path; everything else goes to stderr.
set -euo pipefail

readonly data_sets="ml-latest-small ml-100k ml-1m ml-10m ml-20m ml-25m ml-32m"
readonly default_url=https://files.grouplens.org/datasets/movielens
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base_url=${CURATE_GROUPLENS_URL:-$default_url}
base_url=${base_url%/}
connect_timeout=${CURATE_FETCH_TIMEOUT:-8}
name="" out="" offline=no
part="" unpacking="" ratings_file="" scratch="" locked=no
published="" expected="" origin=""

# How `download` and `unpack_zip` report what their callers must tell apart.
readonly unreachable=1 missing=4 damaged=4 refused=5

usage() {
    cat <<EOF
usage: data/fetch.sh NAME [--out DIR] [--offline]
  NAME       one of: $data_sets
  --out DIR  where the files go (default: data/downloads/NAME beside this script)
  --offline  don't contact GroupLens; ml-latest-small then comes from the Debian/Ubuntu
             package r-cran-dslabs (through apt), other sets must be there already
environment:
  CURATE_GROUPLENS_URL       base address to download from (default: $default_url)
  CURATE_FETCH_TIMEOUT       seconds to wait for a server's first answer (default: 8)
  CURATE_GROUPLENS_PINS=off  don't insist on the checksums kept in this script
exit status: 0 done, 1 failed, 2 bad usage, 3 no source could be reached
The folder's absolute path is the last line on stdout.
EOF
}

say() { printf 'fetch.sh: %s\n' "$*" >&2; }

die() {
    local status=$1
    shift
    say "$*"
    exit "$status"
}

parse_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) usage; exit 0 ;;
            --offline) offline=yes ;;
            --out)
                [ -n "${2:-}" ] || die 2 "--out needs a folder: data/fetch.sh NAME --out DIR"
                out=$2
                shift
                ;;
            --out=?*) out=${1#--out=} ;;
            -*) die 2 "unknown option '$1'; known are --out DIR, --offline and --help" ;;
            *)
                [ -z "$name" ] || die 2 "one data set at a time: got '$name' and '$1'"
                name=$1
                [ -n "$name" ] || die 2 "the data set's name is empty; give one of: $data_sets"
                ;;
        esac
        shift
    done
    [ -n "$name" ] || die 2 "which data set? Give one of: $data_sets"
    case " $data_sets " in
        *" $name "*) ;;
        *) die 2 "unknown data set '$name'; give one of: $data_sets" ;;
    esac
    case $base_url in
        http://?* | https://?*) ;;
        *) die 2 "CURATE_GROUPLENS_URL must start with http:// or https://, not '$base_url'" ;;
    esac
    [[ $connect_timeout =~ ^[1-9][0-9]{0,3}$ ]] ||
        die 2 "CURATE_FETCH_TIMEOUT must be a whole number of seconds from 1 on, not '$connect_timeout'"
}

# Checksums of the sets that GroupLens calls stable. ml-latest-small may change, so it has none.
pinned_md5() {
    [ "${CURATE_GROUPLENS_PINS:-on}" != off ] || return 0
    case $1 in
        ml-100k) echo 0e33842e24a9c977be4e0107933c0723 ;;
        ml-1m) echo c4d9eecfca2ab87c1945afe126590906 ;;
        ml-10m) echo ce571fd55effeba0271552578f2648bd ;;
        ml-20m) echo cd245b17a1ae2cc31bb14903e1204af3 ;;
        ml-25m) echo 6b51fb2759a8657d3bfcbfc42b592ada ;;
        ml-32m) echo d472be332d4daa821edc399621853b57 ;;
    esac
}

ratings_file_of() {
    case $1 in
        ml-100k) echo u.data ;;
        ml-1m | ml-10m) echo ratings.dat ;;
        *) echo ratings.csv ;;
    esac
}

print_licence() {
    local redistribution="redistribution only under the same terms"
    case $name in
        ml-100k | ml-1m | ml-10m) redistribution="no redistribution without permission" ;;
    esac
    say "licence: GroupLens, for research; acknowledge it; $redistribution;" \
        "no commercial use without permission (see the set's README)"
    say "cite: Harper & Konstan (2015), The MovieLens Datasets, doi:10.1145/2827872"
}

set_paths() {
    local parent
    [ -n "$out" ] || out=$here/downloads/$name
    while [ "$out" != / ] && [ "${out%/}" != "$out" ]; do out=${out%/}; done
    parent=$(dirname -- "$out")
    mkdir -p -- "$parent" 2>/dev/null || die 1 "cannot create $parent; choose another folder with --out DIR"
    parent=$(cd -- "$parent" && pwd -P)
    case $(basename -- "$out") in
        / | . | ..) die 2 "--out needs a folder of its own, not '$out'" ;;
    esac
    out=${parent%/}/$(basename -- "$out")
    part=$out.zip.part
    unpacking=$out.unpacking
    ratings_file=$(ratings_file_of "$name")
}

# The folder is renamed into place only when whole, so the ratings file proves it complete.
already_there() {
    local held
    [ -s "$out/$ratings_file" ] || return 1
    held=$(sed -n 's/^data set: //p' "$out/SOURCE.txt" 2>/dev/null) || held=
    [ -z "$held" ] || [ "$held" = "$name" ] || die 2 "$out already holds $held; choose another folder with --out DIR"
    origin=$(sed -n 's/^source: //p' "$out/SOURCE.txt" 2>/dev/null) || origin=
    origin="already there${origin:+, fetched earlier from $origin}"
}

require_free_place() {
    if [ ! -e "$out" ] && [ ! -L "$out" ]; then
        return
    fi
    if [ -L "$out" ] || [ ! -d "$out" ] || [ -n "$(ls -A -- "$out")" ]; then
        die 2 "$out exists but holds no $ratings_file; move it away or choose another folder with --out DIR"
    fi
}

# The lock lives on the .part file, and curl inherits it: as long as any process can still
# write there, even one orphaned by a kill, a second run must keep its hands off.
take_lock() {
    { exec 9>>"$part"; } 2>/dev/null || die 1 "cannot write $part; choose another folder with --out DIR"
    if command -v flock >/dev/null && ! flock -n 9; then
        die 1 "another run is fetching $out; wait for it to end"
    fi
    locked=yes
}

cleanup() {
    [ -z "$scratch" ] || rm -rf -- "$scratch"
    if [ "$locked" = yes ]; then
        rm -rf -- "$unpacking"
        [ -s "$part" ] || rm -f -- "$part"
    fi
}

interrupted() {
    say "interrupted; run the same command again to go on from here"
    exit "$1"
}

size_of() { stat -c %s -- "$1" 2>/dev/null || echo 0; }

# download URL FILE quiet|progress: 0 done, $unreachable, $missing; resumes a partial FILE.
download() {
    local url=$1 file=$2 tries=0 progressed=no furthest now status answer code connect_time
    local options=(--fail --location --proto '=http,https' --connect-timeout "$connect_timeout"
        --speed-limit 1 --speed-time 30 --continue-at - --output "$file"
        --write-out '%{http_code} %{time_connect}')
    if [ "$3" = progress ] && [ -t 2 ]; then
        options+=(--progress-bar)
    else
        options+=(--silent)
    fi
    case $url in https:*) options+=(--proto-redir '=https') ;; esac
    furthest=$(size_of "$file")
    while :; do
        status=0
        answer=$(curl "${options[@]}" -- "$url") || status=$?
        read -r code connect_time <<<"${answer:-000 0}"
        [ "$status" -ne 0 ] || return 0
        now=$(size_of "$file")
        # Only new ground resets the count, or a server that can't resume would be tried for ever.
        [ "$now" -le "$furthest" ] || { furthest=$now tries=0 progressed=yes; }
        case $status in
            23 | 27) die 1 "cannot write $file (curl error $status): is the disk full?" ;;
            33) # the server can't resume: start over, or each rerun would fail the same way
                say "the server can't resume a download; starting over"
                : >"$file"
                now=0
                ;;
            22)
                case $code in
                    408 | 429 | 5??) ;;
                    416) # nothing left to send: whether FILE is right is for the checks to say
                        [ "$now" -eq 0 ] || return 0
                        ;;
                    *) [ "$3" = quiet ] || say "$url: HTTP status $code"; return "$missing" ;;
                esac
                ;;
            16 | 18 | 52 | 55 | 56 | 92) ;;
            28) # a slow server is worth another try, a silent address is not
                case $connect_time in 0 | 0.000000) say_unreachable "$url" "$status"; return "$unreachable" ;; esac
                ;;
            *)
                [ "$progressed" = yes ] || { say_unreachable "$url" "$status"; return "$unreachable"; }
                ;;
        esac
        tries=$((tries + 1))
        if [ "$tries" -gt 3 ]; then
            say "gave up on $url (curl error $status, HTTP status $code)"
            return "$unreachable"
        fi
        say "broken off at $now bytes (curl error $status, HTTP status $code); trying again"
        sleep "$tries"
    done
}

say_unreachable() {
    local why="curl error $2"
    case $2 in
        5 | 6) why="the host name is not known here: no network?" ;;
        7) why="connection refused or no route" ;;
        28) why="no answer in $connect_timeout s" ;;
        35 | 60) why="no valid TLS certificate or handshake" ;;
    esac
    say "can't reach $1 ($why)"
}

# Sets `published` to the checksum that lies beside the zip, or to nothing where none does.
read_published_md5() {
    local status=0
    published=
    download "$base_url/$name.zip.md5" "$scratch/md5" quiet || status=$?
    [ "$status" -ne "$missing" ] || return 0
    [ "$status" -eq 0 ] || return "$status"
    # Both forms in use, BSD's and GNU's; any other text (an error page) is no checksum.
    published=$(head -c 4096 "$scratch/md5" | tr '\r' '\n' |
        sed -nE 's/^MD5 ?\(.*\) ?= ?([0-9a-fA-F]{32})$/\1/p; s/^([0-9a-fA-F]{32})( .*)?$/\1/p' |
        head -n 1 | tr A-F a-f) || published=
}

# Sets `expected` to the MD5 that the zip must have, or to nothing.
settle_expected_md5() {
    local pinned
    read_published_md5 || return $?
    pinned=$(pinned_md5 "$name")
    if [ -n "$published" ] && [ -n "$pinned" ] && [ "$published" != "$pinned" ]; then
        die 1 "the MD5 published at $base_url for $name ($published) is not the one known to this script" \
            "($pinned): the set was changed, or this is not GroupLens. CURATE_GROUPLENS_PINS=off accepts it"
    fi
    expected=${published:-$pinned}
    if [ -n "$published" ]; then
        say "published MD5: $published"
    elif [ -n "$pinned" ]; then
        say "no readable MD5 is published there; using the one known to this script: $pinned"
    else
        say "no readable MD5 is published for $name; only the zip's own checksums (CRC) can be checked"
    fi
}

# All entries are judged before the first byte is written.
unpack_zip() {
    python3 -I - "$part" "$unpacking" "$ratings_file" <<'PY'
import shutil
import signal
import stat
import sys
import zipfile
import zlib
from pathlib import Path, PurePosixPath

FAILED, DAMAGED, REFUSED = 1, 4, 5
# Several times the largest MovieLens set; a zip bomb is far above.
MAX_BYTES, MAX_ENTRIES = 4 << 30, 1000


class Refused(Exception):
    pass


def safe_parts(info):
    name, parts = info.filename, PurePosixPath(info.filename).parts
    if not parts or name.startswith("/") or "\\" in name or ":" in parts[0] or ".." in parts:
        raise Refused(f"unsafe path {name!r}")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Refused(f"{name!r} is a link or a special file")
    if info.flag_bits & 1:
        raise Refused(f"{name!r} is encrypted")
    return parts


def planned_files(archive):
    """Target path -> entry, without the one folder that wraps everything."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES or sum(e.file_size for e in entries) > MAX_BYTES:
        raise Refused("absurd size: more than 4 GiB or 1000 entries")
    files = [(safe_parts(e), e) for e in entries]
    files = [(p, e) for p, e in files if not e.is_dir() and p[0] != "__MACOSX"]
    wrapped = len({p[0] for p, _ in files}) == 1 and all(len(p) > 1 for p, _ in files)
    plan = {p[1:] if wrapped else p: e for p, e in files}
    if len(plan) != len(files):
        raise Refused("two entries have the same path")
    return plan


def unpack(zip_path, out, wanted):
    with zipfile.ZipFile(zip_path) as archive:
        plan = planned_files(archive)
        if (wanted,) not in plan:
            raise Refused(f"it holds no {wanted}")
        need = sum(e.file_size for e in plan.values())
        if need > shutil.disk_usage(out.parent).free:
            raise OSError(f"unpacking needs {need >> 20} MiB free in {out.parent}")
        out.mkdir()
        for parts, entry in plan.items():
            target = out.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, open(target, "xb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)  # checks the CRC at the end


def main(zip_path, out, wanted):
    try:
        unpack(zip_path, Path(out), wanted)
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError) as problem:
        return DAMAGED, f"the zip is damaged: {problem}"
    except (Refused, NotImplementedError) as problem:
        return REFUSED, f"the zip is refused: {problem}"
    except OSError as problem:
        return FAILED, f"cannot unpack: {problem}"
    return 0, ""


signal.signal(signal.SIGINT, signal.SIG_DFL)  # the script reports the interruption
status, message = main(*sys.argv[1:])
if message:
    print(f"fetch.sh: {message}", file=sys.stderr)
sys.exit(status)
PY
}

# publish SOURCE: names where the files came from, then makes the folder appear at once.
publish() {
    if ! printf 'data set: %s\nsource: %s\n' "$name" "$1" >"$unpacking/SOURCE.txt" ||
        ! find "$unpacking" -type f -exec sync -- {} + ||
        ! mv -T -- "$unpacking" "$out"; then
        die 1 "cannot finish $out"
    fi
    rm -f -- "$part"
    origin=$1
}

# 0: downloaded, 1: GroupLens is no source just now. A bad zip ends the script.
from_grouplens() {
    local md5 source=GroupLens resumed=no status
    [ "$base_url" = "$default_url" ] || source="mirror of GroupLens"
    if ! command -v curl >/dev/null; then
        say "curl is not installed (apt-get install curl)"
        return 1
    fi
    settle_expected_md5 || return 1
    if [ -s "$part" ]; then
        resumed=yes
        say "going on with the partial download ($(size_of "$part") bytes)"
    fi
    while :; do
        say "downloading $base_url/$name.zip"
        download "$base_url/$name.zip" "$part" progress || return 1
        status=0
        if [ -n "$expected" ]; then
            md5=$(md5sum <"$part") || die 1 "cannot read $part"
            md5=${md5%% *}
            [ "$md5" = "$expected" ] || { status=$damaged; say "wrong MD5: got $md5, expected $expected"; }
        fi
        if [ "$status" -eq 0 ]; then
            unpack_zip || status=$?
        fi
        case $status in
            0) break ;;
            "$damaged" | "$refused") ;;
            *) exit 1 ;;
        esac
        rm -rf -- "$unpacking"
        if [ "$status" -ne "$damaged" ] || [ "$resumed" = no ]; then
            rm -f -- "$part"
            die 1 "$name.zip was deleted and nothing was unpacked"
        fi
        # The old beginning may belong to another version of the file.
        say "the resumed download doesn't fit together; starting over once"
        resumed=no
        : >"$part"
    done
    publish "$source, $base_url/$name.zip${expected:+ (MD5 $expected checked)}"
}

# apt-get download into the current folder; the lists go to a private place when the
# system's are missing or stale, so that this needs no root and changes nothing.
download_package() {
    local options=(-qq -o Acquire::Retries=1 -o Acquire::http::Timeout="$connect_timeout"
        -o Acquire::https::Timeout="$connect_timeout" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" download r-cran-dslabs >&2 2>"$scratch/apt.err" && return 0
    say "the package lists are missing or stale; reading fresh ones into a temporary folder"
    mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
    options+=(-o Dir::State::Lists="$scratch/lists" -o Dir::Cache="$scratch/cache" -o Acquire::Languages=none)
    apt-get "${options[@]}" update >&2 2>"$scratch/apt.err" &&
        apt-get "${options[@]}" download r-cran-dslabs >&2 2>"$scratch/apt.err"
}

write_package_readme() {
    cat >"$unpacking/README.txt" <<EOF
MovieLens ml-latest-small, the 2016 version, as it comes inside the Debian/Ubuntu
package $1 (R package dslabs, data set "movielens").

ratings.csv  userId,movieId,rating,timestamp
movies.csv   movieId,title,genres (rated movies only)

This folder was rebuilt from the package's R data, not downloaded from GroupLens.
GroupLens's own ml-latest-small of today is a later version, with other users and
ratings. A few titles that end in no plain year are missing in the package; they read
"[movie N: title missing]" here.

The ratings are GroupLens's (https://grouplens.org/datasets/movielens/): for research,
to be acknowledged, redistribution only under the same terms, no commercial use without
permission. The R package itself is under the Artistic License 2.0.
Cite: F. Maxwell Harper and Joseph A. Konstan (2015). The MovieLens Datasets: History
and Context. ACM TiiS 5(4), article 19. https://doi.org/10.1145/2827872
EOF
}

# 0: done, 1: the package can't be had here.
from_debian_package() {
    local tool package version rdata
    for tool in apt-get dpkg-deb; do
        command -v "$tool" >/dev/null || { say "no $tool here: this is not Debian or Ubuntu"; return 1; }
    done
    say "getting the package r-cran-dslabs through apt (it holds ml-latest-small as of 2016)"
    mkdir -p "$scratch/package"
    if ! (cd "$scratch/package" && download_package); then
        say "apt can't serve r-cran-dslabs: $(tail -n 1 "$scratch/apt.err")"
        return 1
    fi
    package=$(find "$scratch/package" -name 'r-cran-dslabs_*.deb' | head -n 1)
    version=$(dpkg-deb --field "$package" Version) || die 1 "the package file is damaged; try again"
    dpkg-deb --extract "$package" "$scratch/package/root" || die 1 "the package file is damaged; try again"
    rdata=$scratch/package/root/usr/lib/R/site-library/dslabs/data
    mkdir -- "$unpacking" || die 1 "cannot create $unpacking"
    python3 -I "$here/read_rdata.py" "$rdata" "$unpacking" ||
        die 1 "the data in r-cran-dslabs $version can't be read; please report this"
    write_package_readme "r-cran-dslabs $version" || die 1 "cannot write $unpacking/README.txt"
    publish "Debian/Ubuntu package r-cran-dslabs $version (ml-latest-small as of 2016)"
}

fetch() {
    if [ "$offline" = no ]; then
        from_grouplens && return 0
    fi
    if [ "$name" != ml-latest-small ]; then
        [ "$offline" = no ] || die 3 "$name is not there yet and --offline forbids the download; run without --offline"
        die 3 "no source for $name: $base_url didn't serve it; try later, or set CURATE_GROUPLENS_URL to a mirror"
    fi
    from_debian_package && return 0
    die 3 "no source for $name: neither GroupLens nor the package r-cran-dslabs could be had"
}

main() {
    parse_arguments "$@"
    command -v python3 >/dev/null || die 1 "python3 is not installed (apt-get install python3)"
    set_paths
    if ! already_there; then
        require_free_place
        scratch=$(mktemp -d "${TMPDIR:-/tmp}/curate-fetch.XXXXXX") || die 1 "cannot write to ${TMPDIR:-/tmp}; set TMPDIR"
        trap cleanup EXIT
        trap 'interrupted 129' HUP
        trap 'interrupted 130' INT
        trap 'interrupted 143' TERM
        take_lock
        rm -rf -- "$unpacking"
        already_there || fetch
    fi
    say "source: $origin"
    print_licence
    echo "$out"
}

main "$@"
