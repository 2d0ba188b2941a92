/* Prints the greeting, who runs this, and owner and mode of the files named on the command line. */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void print_greeting(const char *path)
{
    char line[256];
    FILE *file = path ? fopen(path, "r") : NULL;

    if (file == NULL) {
        perror(path ? path : "GREETING");
        exit(1);
    }
    while (fgets(line, sizeof line, file))
        fputs(line, stdout);
    fclose(file);
}

static void print_file(const char *path)
{
    struct stat status;

    if (stat(path, &status)) {
        perror(path);
        exit(1);
    }
    const struct passwd *owner = getpwuid(status.st_uid);
    const struct group *group = getgrgid(status.st_gid);
    printf("  %04o %-6s %-11s %s\n", (unsigned)status.st_mode & 07777,
           owner ? owner->pw_name : "?", group ? group->gr_name : "?", path);
}

int main(int argc, char **argv)
{
    const struct passwd *self = getpwuid(getuid());

    print_greeting(getenv("GREETING"));
    printf("I was compiled in one stage, and run as %s (uid %u) on files of another:\n",
           self ? self->pw_name : "?", (unsigned)getuid());
    for (int i = 1; i < argc; i++)
        print_file(argv[i]);
    return 0;
}
